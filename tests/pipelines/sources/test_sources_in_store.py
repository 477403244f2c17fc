"""Sources on a real S3 server give what they give on a disk, also on a bad day."""

import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.funnel import Funnel
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.sources.base import open_source
from tests.faults import evenly, faulty
from tests.pipelines.sources.raw_pairs import read_pairs
from tests.stores import BUCKET

BY_PATH = {"image": None, "image_path": "file"}


@pytest.fixture(scope="module")
def pools(sample, store, tmp_path_factory):
    """The same images in three layouts: recipe's section, folder, URI."""
    shards = sorted(sample.glob("*.tar"))[:2]
    folders = {name: tmp_path_factory.mktemp("layouts") / name for name in ("tar", "inline", "path")}
    for folder in folders.values():
        folder.mkdir()
    (folders["path"] / "images ü").mkdir()
    for shard in shards:
        (folders["tar"] / shard.name).write_bytes(shard.read_bytes())
        with tarfile.open(shard) as archive:
            members = [member for member in archive if not member.name.endswith(".json")]
            images = [archive.extractfile(member).read() for member in members]
        files = [f"images ü/{shard.stem}-{row}.jpg" for row in range(len(images))]
        for file, image in zip(files, images, strict=True):
            (folders["path"] / file).write_bytes(image)
        shared = {"url": files, "captions": [[f"text {row}"] for row in range(len(images))]}
        inline = pa.table({**shared, "image": images})
        pq.write_table(inline, folders["inline"] / f"{shard.stem}.parquet", row_group_size=9)
        pq.write_table(pa.table({**shared, "file": files}), folders["path"] / f"{shard.stem}.parquet")
    sections = {
        "tar": {"format": "webdataset"},
        "inline": {"format": "parquet"},
        "path": {"format": "parquet", "columns": BY_PATH},
    }
    return {name: (sections[name], folder, store.upload(folder, f"sources/{name}")) for name, folder in folders.items()}


def everything(section, uri):
    """Names, and of each shard pairs, every other image and funnel; then the same with all images at once."""
    source = open_source(build_config({"pool": {**section, "uri": str(uri)}}))
    listed = source.list_shards()
    found = [listed.select(["name", "size"]).to_pylist()]
    for number, name in enumerate(listed["name"].to_pylist()):
        funnel = Funnel()
        pairs = pa.concat_tables(source.read_captions(name, shard=number, batch_rows=50, funnel=funnel))
        kept = pairs.take(list(range(0, pairs.num_rows, 2)))
        images = source.read_images(name, kept["image_offset"].to_pylist(), kept["image_length"].to_pylist())
        found.append((pairs.to_pylist(), list(images), funnel.to_records()))
        found.append(read_pairs(source, name, batch_bytes=1 << 20))
    return found


@pytest.mark.parametrize("layout", ["tar", "inline", "path"])
def test_source_in_a_store_gives_what_it_gives_on_a_disk(in_store, pools, layout, monkeypatch):
    section, folder, uri = pools[layout]
    expected = everything(section, folder)
    assert all(len(images) > 10 for _, images, _ in expected[1:])
    assert everything(section, uri) == expected
    with faulty(in_store.endpoint, weather := evenly(0.05)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        while sum(weather.came.values()) < 3:
            assert everything(section, uri) == expected


def test_pool_that_the_store_does_not_have_is_an_error_for_the_user(in_store):
    for uri in (f"s3://{BUCKET}/no-such-pool", "s3://no-such-bucket/pool"):
        with pytest.raises(UserError, match="pool"):
            open_source(build_config({"pool": {"uri": uri}})).list_shards()
