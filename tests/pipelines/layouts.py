"""The sample's pairs in other layouts of a pool."""

import gzip
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metaclip_core.funnel import Funnel
from pipelines.sources.base import open_source


def rewrite(config, folder, write):
    """The pairs of some shards in another layout, under the same names but for the suffix."""
    source = open_source(config)
    for number, name in enumerate(source.list_shards()["name"].to_pylist()[:6]):
        tables = source.read_captions(name, shard=number, batch_rows=10_000, funnel=Funnel())
        pairs = pa.concat_tables(tables).select(["captions", "image_offset", "image_length"])
        images = list(source.read_images(name, pairs["image_offset"].to_pylist(), pairs["image_length"].to_pylist()))
        # an address for each image, a few of them twice
        hosts = [number // 2 if row % 5 == 4 else number for row in range(pairs.num_rows)]
        urls = [f"http://host/{host}/{row}.jpg" for row, host in enumerate(hosts)]
        write(folder / name.removesuffix(".tar"), pairs["captions"].to_pylist(), urls, images)


def write_tar(stem, captions, urls, images):
    with tarfile.open(f"{stem}.tar", "w") as archive:
        for row, (texts, url, image) in enumerate(zip(captions, urls, images, strict=True)):
            listed = [{"type": text["kind"], "text": text["text"]} for text in texts]
            content = json.dumps({"url": url, "texts": listed}).encode()
            for suffix, data in (("jpg", image), ("json", content)):
                header = tarfile.TarInfo(f"{row:06d}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


def write_gzipped(stem, *columns):
    write_tar(stem, *columns)
    plain = Path(f"{stem}.tar")
    Path(f"{plain}.gz").write_bytes(gzip.compress(plain.read_bytes(), mtime=0))
    plain.unlink()


def write_inline(stem, captions, urls, images):
    caption = pa.struct([("kind", pa.string()), ("text", pa.string())])
    columns = {"address": urls, "texts": pa.array(captions, pa.list_(caption)), "jpg": images}
    pq.write_table(pa.table(columns), f"{stem}.parquet", row_group_size=7)


def write_by_path(stem, captions, urls, images):
    paths = [f"images/{stem.name}-{row}.jpg" for row in range(len(images))]
    (stem.parent / "images").mkdir(exist_ok=True)
    for path, image in zip(paths, images, strict=True):
        (stem.parent / path).write_bytes(image)
    caption = pa.struct([("kind", pa.string()), ("text", pa.string())])
    columns = {"address": urls, "texts": pa.array(captions, pa.list_(caption)), "file": paths}
    pq.write_table(pa.table(columns), f"{stem}.parquet")


LAYOUTS = {
    "tar": (write_tar, {"format": "webdataset"}),
    "gzip": (write_gzipped, {"format": "webdataset"}),
    "inline": (write_inline, {"format": "parquet", "columns": {"url": "address", "captions": "texts", "image": "jpg"}}),
    "by path": (
        write_by_path,
        {
            "format": "parquet",
            "columns": {"url": "address", "captions": "texts", "image": None, "image_path": "file"},
        },
    ),
}
