"""Benchmarks: the file of their hashes, and the pairs that look like one of their images."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from metaclip_core.records import BENCHMARK_HASH, CONTAMINATION, DropReason
from pipelines import storage
from pipelines.benchmark_hashes import Benchmarks, make_hash_file, read_hash_file
from pipelines.config import build_config
from pipelines.contamination import (
    ContaminationSieve,
    contamination_version,
    find_contaminated,
    read_contamination,
)
from pipelines.errors import UserError
from pipelines.hash_images import hash_batch
from tests.pictures import blank, bordered, encoded, lossless, scaled, shapes, texture

LIMIT = 10_000_000
DISTANCE = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A benchmark of six images, nested, with one that is broken and files that are none."""
    folder = tmp_path_factory.mktemp("benchmark")
    rng = np.random.default_rng(1)
    (folder / "val" / "n01").mkdir(parents=True)
    for number in range(5):
        (folder / "val" / "n01" / f"{number}.JPEG").write_bytes(encoded(shapes(rng)))
    (folder / "plain.png").write_bytes(lossless(blank(rng)))
    (folder / "val" / "broken.jpg").write_bytes(encoded(shapes(rng))[:200])
    (folder / "labels.txt").write_text("0 house\n")
    return folder


@pytest.fixture(scope="module")
def hash_file(cluster, folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("hashes") / "benchmark.parquet"
    return make_hash_file(build_config({}), folder_uri=str(folder), out_uri=str(out))


def image_of(folder, name):
    return Image.open(folder / name).convert("RGB")


def shard_of(images):
    """(pair_id and row, IMAGE_HASH) of a shard with these images; every third row is no pair."""
    rows = [3 * number for number in range(len(images))]
    pairs = pa.table({"pair_id": [f"{row:024x}" for row in rows], "row": pa.array(rows, pa.int32())})
    every = hash_batch([*rows, 1], [*images, encoded(texture(np.random.default_rng(2)))], max_pixels=LIMIT)
    return pairs, every


@pytest.mark.ray
def test_hash_file_has_each_image_at_any_depth_and_says_what_failed(hash_file):
    table = read_hash_file(hash_file.uri)
    assert table.schema.equals(BENCHMARK_HASH)
    assert sorted(set(table["image"].to_pylist())) == [
        "plain.png",
        *(f"val/n01/{number}.JPEG" for number in range(5)),
    ]
    assert (hash_file.num_images, hash_file.num_other) == (6, 1)
    assert hash_file.failed == {"val/broken.jpg": DropReason.IMAGE_BROKEN}


@pytest.mark.ray
def test_copies_of_a_benchmark_are_found_with_the_image_and_the_distance(hash_file, folder):
    rng = np.random.default_rng(3)
    third = image_of(folder, "val/n01/3.JPEG")
    images = [
        encoded(shapes(rng)),
        (folder / "val/n01/3.JPEG").read_bytes(),
        encoded(bordered(scaled(third, 0.6), (255, 255, 255)), quality=70),
        encoded(scaled(image_of(folder, "plain.png"), 0.5)),
        DropReason.NO_IMAGE,
    ]
    pairs, hashes = shard_of(images)
    found = find_contaminated(pairs, hashes, Benchmarks.load([hash_file.uri]), shard=7, distance=DISTANCE)
    assert found.schema.equals(CONTAMINATION)
    exact, copy, smooth = found.to_pylist()
    assert [row["row"] for row in (exact, copy, smooth)] == [3, 6, 9]
    assert exact == {
        "pair_id": f"{3:024x}",
        "shard": 7,
        "row": 3,
        "benchmark": hash_file.uri,
        "image": "val/n01/3.JPEG",
        "distance": 0,
    }
    assert copy["image"] == "val/n01/3.JPEG"
    assert 0 < copy["distance"] <= DISTANCE
    assert (smooth["image"], smooth["distance"]) == ("plain.png", None)


@pytest.mark.ray
def test_the_sieve_gives_a_reason_for_each_pair_and_lists_what_it_holds_back(hash_file, folder, tmp_path):
    pairs, hashes = shard_of([encoded(shapes(np.random.default_rng(3))), (folder / "val/n01/0.JPEG").read_bytes()])
    where = {"hashes_uri": str(tmp_path / "hashes"), "contamination_uri": str(tmp_path / "contamination")}
    config = build_config({"curation": {"benchmarks": [hash_file.uri]}})
    for shard, table in ((0, hashes), (1, hashes.slice(0, 1))):
        storage.write_table(storage.shard_file(where["hashes_uri"], shard), table)
    sieve = ContaminationSieve(config, **where)
    assert sieve.judge(pairs, name="0.tar", shard=0).to_pylist() == [None, DropReason.CONTAMINATION]
    assert sieve.judge(pairs.slice(0, 1), name="1.tar", shard=1).to_pylist() == [None]
    listed = read_contamination(where["contamination_uri"], [0, 1])
    assert listed.select(["shard", "row", "image"]).to_pylist() == [{"shard": 0, "row": 3, "image": "val/n01/0.JPEG"}]


@pytest.mark.ray
def test_contamination_has_another_version_for_other_hashes_and_distances(hash_file, tmp_path):
    def version(uris, distance=20):
        config = build_config({"curation": {"benchmarks": uris, "benchmark_distance": distance}})
        return contamination_version(config, hashes="h")

    other = tmp_path / "other.parquet"
    table = pq.read_table(hash_file.uri)
    pq.write_table(table.slice(1), other)
    versions = {version([hash_file.uri]), version([str(other)]), version([hash_file.uri], 10)}
    assert len(versions) == 3
    assert version([]) is None


@pytest.mark.ray
def test_hash_file_of_a_folder_without_images_is_refused(cluster, tmp_path):
    (tmp_path / "labels.txt").write_text("0 house\n")
    with pytest.raises(UserError, match="holds no image"):
        make_hash_file(build_config({}), folder_uri=str(tmp_path), out_uri=str(tmp_path / "out.parquet"))
    with pytest.raises(UserError, match="no such folder"):
        make_hash_file(build_config({}), folder_uri=str(tmp_path / "no"), out_uri=str(tmp_path / "out.parquet"))


@pytest.mark.ray
def test_hash_file_of_broken_images_alone_is_refused(cluster, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match="none of the 1 images"):
        make_hash_file(build_config({}), folder_uri=str(tmp_path), out_uri=str(tmp_path / "out.parquet"))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"row,hash\n1,2\n", "is no hash file"),
        (None, "there is no hash file"),
        (pa.table({"a": [1]}), "is no hash file of `metaclip hashes`"),
        (BENCHMARK_HASH.empty_table().replace_schema_metadata({"library": "ImageHash 1.0"}), "make it again"),
    ],
)
def test_what_is_no_hash_file_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "hashes.parquet"
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_hash_file(str(path))
    assert str(path) in str(caught.value)


@pytest.mark.ray
def test_hash_file_with_another_column_is_refused(hash_file, tmp_path):
    table = pq.read_table(hash_file.uri)
    path = tmp_path / "hashes.parquet"
    pq.write_table(table.drop_columns("aspect"), path)
    with pytest.raises(UserError, match="'aspect' is missing"):
        read_hash_file(str(path))
