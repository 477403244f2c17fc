"""Hash files: how the images of a benchmark look, so that pairs with such an image can be left out of a pool.

A file is made from a folder of images, once, and named by recipes. It says what made it, for hashes of another version
mean something else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray

from metaclip_core.near_index import LookIndex
from metaclip_core.neighbours import Looks, is_complete
from metaclip_core.records import BENCHMARK_HASH, DropReason, SchemaError, check
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.hash_images import check_installed, hash_batch, library_version
from pipelines.steady import SteadyFile, StoreError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
_LIBRARY = b"library"  # key of the file's metadata
_BATCH_IMAGES = 256


@dataclass(frozen=True)
class HashFile:
    """A hash file that was made."""

    uri: str
    num_images: int  # that have a hash
    failed: dict[str, str]  # the reason by image
    num_other: int  # files that are no images by their name


def make_hash_file(config: RunConfig, *, folder_uri: str, out_uri: str) -> HashFile:
    """Hash the images of a folder, at any depth, in a store or here.

    Raises:
        UserError: no such folder, no image in it, none that decodes, a store that fails, or the extra is missing.
    """
    check_installed()
    images, num_other = _list_images(folder_uri)
    with connected(config.compute):
        read = ray.data.from_items(
            [{"image": image} for image in images], override_num_blocks=min(len(images), config.compute.shard_blocks)
        ).map_batches(
            _hash_files,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"folder_uri": folder_uri, "config": config},
            batch_format="pyarrow",
            batch_size=_BATCH_IMAGES,
        )
        table = pa.concat_tables(read.iter_batches(batch_format="pyarrow", batch_size=None)).sort_by("image")
    broken = table.filter(table["drop_reason"].is_valid())
    hashes = table.filter(is_complete(table)).select(BENCHMARK_HASH.names)
    if not hashes.num_rows:
        raise UserError(f"none of the {len(images)} images in {folder_uri} could be read")
    storage.write_table(out_uri, hashes.replace_schema_metadata({_LIBRARY: library_version()}))
    failed = dict(zip(broken["image"].to_pylist(), broken["drop_reason"].to_pylist(), strict=True))
    return HashFile(out_uri, len(images) - len(failed), failed, num_other)


def _list_images(folder_uri: str) -> tuple[list[str], int]:
    """Paths in the folder, in order, and the number of other files."""
    filesystem, root = storage.resolve(folder_uri)
    try:
        infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"no such folder: {folder_uri}") from error
    except OSError as error:
        raise UserError(f"{folder_uri} cannot be listed: {storage.first_line(error)}") from error
    files = [info.path[len(root) :].lstrip("/") for info in infos if info.is_file]
    images = sorted(file for file in files if file.lower().endswith(SUFFIXES))
    if not images:
        raise UserError(f"{folder_uri} holds no image: no file ends in {', '.join(SUFFIXES)}")
    return images, len(files) - len(images)


def _hash_files(images: pa.Table, *, folder_uri: str, config: RunConfig) -> pa.Table:
    """BENCHMARK_HASH and drop_reason."""
    filesystem, root = storage.resolve(folder_uri)
    names = images["image"].to_pylist()
    data = [_read(filesystem, f"{root.rstrip('/')}/{name}", max_bytes=config.pool.max_image_bytes) for name in names]
    hashed = hash_batch(list(range(len(names))), data, max_pixels=config.feed.max_pixels)
    return hashed.drop_columns("row").add_column(0, "image", images["image"].take(hashed["row"]))


def _read(filesystem: pafs.FileSystem, path: str, *, max_bytes: int) -> bytes | DropReason:
    with SteadyFile(filesystem, path) as file:
        return DropReason.IMAGE_BYTES_OVER_LIMIT if file.size > max_bytes else file.read_at(file.size, 0)


def read_hash_file(uri: str) -> pa.Table:
    """BENCHMARK_HASH of one benchmark.

    Raises:
        UserError: there is no such file, it is no hash file, or another version made it.
    """
    try:
        with SteadyFile(*storage.resolve(uri)) as file:
            parquet = pq.ParquetFile(file)
            made_by = (parquet.schema_arrow.metadata or {}).get(_LIBRARY, b"").decode()
            table = parquet.read()
    except StoreError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"there is no hash file {uri}: make it with `metaclip hashes`") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{uri} is no hash file: {storage.first_line(error)}") from error
    if not made_by:
        raise UserError(f"{uri} is no hash file of `metaclip hashes`")
    if made_by != library_version():
        raise UserError(f"{uri} was made by {made_by}, and here is {library_version()}: make it again")
    try:
        return check(table, BENCHMARK_HASH, stage="hash file").filter(is_complete(table))
    except SchemaError as error:
        raise UserError(f"{uri} is no hash file: {error}") from error


def hash_file_digest(uri: str) -> str:
    """What a version says of a hash file: a hash of its bytes. Raises UserError."""
    try:
        return hashlib.sha256(storage.read_bytes(uri)).hexdigest()[:16]
    except FileNotFoundError as error:
        raise UserError(f"there is no hash file {uri}: make it with `metaclip hashes`") from error


@dataclass(frozen=True)
class Benchmarks:
    """The images of all benchmarks of a recipe, indexed."""

    names: pa.Table  # columns benchmark and image, a row for each form
    index: LookIndex

    @classmethod
    def load(cls, uris: Sequence[str]) -> Benchmarks:
        """Those of some hash files, in order. Raises UserError."""
        tables = [read_hash_file(uri) for uri in uris]
        sizes = [table.num_rows for table in tables]
        table = pa.concat_tables([BENCHMARK_HASH.empty_table(), *tables])
        looks = Looks.from_table(table, np.arange(table.num_rows))
        benchmark = np.repeat(np.array(uris, object), sizes)
        return cls(pa.table({"benchmark": pa.array(benchmark, pa.string()), "image": table["image"]}), LookIndex(looks))
