"""Hashing: how the image of every annotated pair looks, so that those that look the same can be found.

One file for each shard, so that new shards alone are hashed and a killed job repeats only what it had not finished. An
image that can't be read, or does not decode, has a row that says so, and takes part in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from metaclip_core.records import IMAGE_HASH, DropReason
from pipelines import annotate, storage
from pipelines.annotate import read_annotations
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.sources.base import open_source

try:
    from metaclip_core.image_hashes import look
except ModuleNotFoundError:
    _INSTALLED = False
else:
    _INSTALLED = True

REVISION = 1
_LIBRARY = "ImageHash"
_BATCH_ROWS = 1_024


def check_installed() -> None:
    """Raises UserError when the extra that hashes images is not installed."""
    if not _INSTALLED:
        raise UserError(f"{_LIBRARY} is not installed: pip install '.[hashes]' in the checkout")


def library_version() -> str:
    """What made a hash, and in which way: hashes of another version are not compared.

    Raises:
        UserError: the extra is not installed.
    """
    try:
        return f"{_LIBRARY} {version(_LIBRARY)}, revision {REVISION}"
    except PackageNotFoundError as error:
        raise UserError(f"{_LIBRARY} is not installed: pip install '.[hashes]' in the checkout") from error


def hashes_version(config: RunConfig, pool: dict[str, Any]) -> str:
    """The version of a pool's hashes: of the images and of which rows are pairs, not of what their captions say."""
    return storage.version_of(
        "hashes",
        REVISION,
        pool=pool,
        pairs=annotate.REVISION,
        library=library_version(),
        max_pixels=_max_pixels(config),
    )


def _max_pixels(config: RunConfig) -> int:
    return config.feed.max_pixels


def hash_batch(rows: list[int], images: list[bytes | DropReason], *, max_pixels: int) -> pa.Table:
    """IMAGE_HASH of some images, in order. Pure; an image's hash depends on its bytes alone."""
    found = []
    for row, image in zip(rows, images, strict=True):
        looks = [{"drop_reason": image}] if isinstance(image, DropReason) else look(image, max_pixels=max_pixels)
        found += [{"row": row, **form} for form in looks]
    return pa.Table.from_pylist(found, IMAGE_HASH)


class HashImages:
    """Reads the images of annotated shards and writes how they look."""

    def __init__(self, config: RunConfig, *, annotations_uri: str, hashes_uri: str, library: str) -> None:
        check_installed()
        if library_version() != library:
            raise UserError(f"{library_version()} is on this node, and {library} where the job was started")
        self._source = open_source(config)
        self._max_pixels = _max_pixels(config)
        self._annotations_uri = annotations_uri
        self._hashes_uri = hashes_uri

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Rows of the manifest in, the numbers of the shards hashed out."""
        for shard in shards.to_pylist():
            uri = storage.shard_file(self._hashes_uri, shard["shard"])
            with (
                storage.publishing(uri) as (filesystem, path),
                pq.ParquetWriter(path, IMAGE_HASH, filesystem=filesystem, compression="zstd") as writer,
            ):
                for batch in self._hash(shard["name"], shard["shard"]):
                    writer.write_table(batch)
        return shards.select(["shard"])

    def _hash(self, name: str, shard: int) -> Iterator[pa.Table]:
        pairs = read_annotations(self._annotations_uri, shard, columns=["row", "image_offset", "image_length"])
        rows, offsets, lengths = (column.to_pylist() for column in pairs.columns)
        images = self._source.read_images(name, offsets, lengths)
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = rows[start : start + _BATCH_ROWS]
            yield hash_batch(batch, list(islice(images, len(batch))), max_pixels=self._max_pixels)


def read_hashes(hashes_uri: str, shard: int) -> pa.Table:
    """IMAGE_HASH of a shard."""
    return storage.read_table(storage.shard_file(hashes_uri, shard))


def apply_hash_images(
    manifest: Manifest, config: RunConfig, *, annotations_uri: str, hashes_uri: str
) -> ray.data.Dataset:
    """Annotated shards without hashes → the numbers of those hashed. Lazy."""
    return manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        HashImages,
        fn_constructor_args=(config,),
        fn_constructor_kwargs={
            "annotations_uri": annotations_uri,
            "hashes_uri": hashes_uri,
            "library": library_version(),
        },
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
    )
