"""Pools of parquet files: a row is a pair, its image inline or in a file of its own.

A pair's row is that of the file, and so is the place of its image: `image_offset` is the row, `image_length` 1. Reading
captions touches no image; one that turns out to be missing or too large is told when it is asked for.
"""

from __future__ import annotations

import errno
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id, shown_url, stated_id
from metaclip_core.records import DropReason, Stage
from metaclip_core.sifting import sift_caption
from pipelines import storage
from pipelines.config.pool import PoolConfig
from pipelines.errors import UserError
from pipelines.sources.columns import as_bytes, decoded, find_problem, raw_captions
from pipelines.sources.listing import list_files
from pipelines.sources.pairs import Pairs, chosen, in_batches
from pipelines.sources.rows import BrokenFileError, ParquetRows, Rows
from pipelines.steady import SteadyFile

_log = logging.getLogger(__name__)

_FILES_AT_ONCE = 8
_NO_FILE = {errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG}


class ParquetSource:
    """Shards are the `*.parquet` files below the pool's folder, at any depth; `pool.columns` names their columns."""

    def __init__(self, pool: PoolConfig, *, uri: str) -> None:
        self._pool = pool
        self._columns = pool.columns
        self._image_column = str(pool.columns.image or pool.columns.image_path)
        self._uri = uri
        self._filesystem, self._path = storage.resolve(uri)

    def list_shards(self) -> pa.Table:
        """Name (relative to the pool), size and identity of each shard, by name.

        Raises:
            UserError: no such folder, a store that does not answer, no shards, or a recipe that names other columns
                than the first readable shard has.
        """
        listed = list_files(self._uri, suffixes=(".parquet",))
        for name in listed["name"].to_pylist():
            with SteadyFile(self._filesystem, f"{self._path}/{name}") as file:
                try:
                    problem = find_problem(self._columns, ParquetRows(file).schema)
                except BrokenFileError:
                    continue
            if problem:
                raise UserError(f"shard {name} of the pool {self._uri} has {problem}")
            break
        return listed

    def read_captions(self, name: str, *, shard: int, batch_rows: int, funnel: Funnel) -> Iterator[pa.Table]:
        """The pairs of a shard as tables of PAIR; what is dropped is counted in `funnel`. Reads no image."""
        with SteadyFile(self._filesystem, f"{self._path}/{name}") as file:
            rows = self._enter(file, name, funnel)
            if rows is None:
                return
            read = ((pair, None) for pair in self._pairs(rows, name, shard, funnel))
            for table, _ in in_batches(read, max_rows=batch_rows, max_bytes=0):
                yield table

    def read_pairs(
        self, name: str, *, shard: int, batch_rows: int, batch_bytes: int, funnel: Funnel
    ) -> Iterator[Pairs]:
        """`read_captions` with the images. Reads each byte once; an image's own file is read when it is asked for."""
        with SteadyFile(self._filesystem, f"{self._path}/{name}") as file:
            rows = self._enter(file, name, funnel)
            if rows is None:
                return
            pairs, again = itertools.tee(self._pairs(rows, name, shard, funnel))
            held = self._held(rows, (pair["row"] for pair in again))
            in_step = zip(pairs, held, strict=False)
            for table, images in in_batches(in_step, max_rows=batch_rows, max_bytes=batch_bytes):
                yield Pairs(table, partial(self._images, images))

    def read_images(self, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[bytes | DropReason]:  # noqa: ARG002 - a row is one image
        """The images of some rows, ascending, or why there is none; lazy, reads no row group without one of them."""
        with SteadyFile(self._filesystem, f"{self._path}/{name}") as file:
            cells = _cells(self._open(file).read([self._image_column], wanted=offsets), offsets)
            yield from map(self._inline, cells) if self._columns.image else self._read_files(cells)

    def _enter(self, file: SteadyFile, name: str, funnel: Funnel) -> ParquetRows | None:
        """The rows of a shard; None for one that is unreadable, which is counted."""
        funnel.enter(Stage.SHARDS)
        try:
            return self._open(file)
        except BrokenFileError as error:
            _log.warning("shard %s is unreadable: %s", name, error)
            funnel.drop(Stage.SHARDS, DropReason.SHARD_UNREADABLE)
            return None

    def _open(self, file: SteadyFile) -> ParquetRows:
        rows = ParquetRows(file)
        if problem := find_problem(self._columns, rows.schema):
            raise BrokenFileError(f"it has {problem}")
        return rows

    def _held(self, rows: ParquetRows, wanted: Iterable[int]) -> Iterator[Any]:
        """Of inline images what `read_images` gives; of others their cells."""
        cells = _cells(rows.read([self._image_column]), wanted)
        return map(self._inline, cells) if self._columns.image else cells

    def _images(self, held: Sequence[Any], wanted: Sequence[int]) -> Iterator[bytes | DropReason]:
        some = chosen(held, wanted)
        return some if self._columns.image else self._read_files(some)

    def _pairs(self, rows: ParquetRows, name: str, shard: int, funnel: Funnel) -> Iterator[dict[str, Any]]:
        columns = self._columns
        roles = (columns.pair_id, columns.url, columns.captions, columns.image_path, columns.key)
        names = [name for name in roles if name is not None]
        for read in rows.read(names):
            funnel.enter(Stage.READ, read.stop - read.start)
            if read.table is None:
                funnel.drop(Stage.READ, DropReason.BAD_MEMBER, read.stop - read.start)
                continue
            for row, record in enumerate(as_bytes(read.table).to_pylist(), read.start):
                pair = self._pair(record, row, name, funnel)
                if isinstance(pair, DropReason):
                    funnel.drop(Stage.READ, pair)
                else:
                    yield {**pair, "shard": shard}

    def _pair(self, record: dict[str, Any], row: int, name: str, funnel: Funnel) -> dict[str, Any] | DropReason:
        columns = self._columns
        if columns.image_path and not _is_inside(decoded(record[columns.image_path])):
            return DropReason.NO_IMAGE
        captions = [
            caption
            for kind, text in raw_captions(record[columns.captions])
            if (caption := sift_caption(kind, text, max_chars=self._pool.max_caption_chars, funnel=funnel))
        ]
        if not captions:
            return DropReason.NO_CAPTION
        url = decoded(record[columns.url]) if columns.url else None
        key = record[columns.key] if columns.key else None
        key = row if key is None else decoded(key) if isinstance(key, bytes) else key
        stated = stated_id(decoded(record[columns.pair_id])) if columns.pair_id else None
        return {
            "pair_id": stated or pair_id(url, f"{name}/{key}"),
            "url": shown_url(url),
            "row": row,
            "captions": captions,
            "image_offset": row,
            "image_length": 1,
        }

    def _inline(self, cell: bytes | DropReason | None) -> bytes | DropReason:
        if cell is None:
            return DropReason.NO_IMAGE
        if isinstance(cell, bytes) and len(cell) > self._pool.max_image_bytes:
            return DropReason.IMAGE_BYTES_OVER_LIMIT
        return cell

    def _read_files(self, cells: Iterator[bytes | DropReason | None]) -> Iterator[bytes | DropReason]:
        with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
            group: list[bytes | DropReason | None] = []
            for cell in cells:
                group.append(cell)
                if len(group) == _FILES_AT_ONCE:
                    yield from threads.map(self._read_file, group)
                    group = []
            yield from threads.map(self._read_file, group)

    def _read_file(self, cell: bytes | DropReason | None) -> bytes | DropReason:
        if isinstance(cell, DropReason):
            return cell
        path = decoded(cell)
        if not _is_inside(path):
            return DropReason.NO_IMAGE
        place = f"{self._path}/{path}"
        try:
            file = SteadyFile(self._filesystem, place)
        except OSError as error:
            if error.errno in _NO_FILE or not self._filesystem.get_file_info(place).is_file:
                return DropReason.NO_IMAGE
            raise
        with file:
            if file.size > self._pool.max_image_bytes:
                return DropReason.IMAGE_BYTES_OVER_LIMIT
            return file.read_at(file.size, 0)


def _cells(read: Iterator[Rows], wanted: Iterable[int]) -> Iterator[bytes | DropReason | None]:
    """The cells of the rows wanted, of the only column."""
    todo = iter(wanted)
    row = next(todo, None)
    for rows in read:
        cells = None if rows.table is None else as_bytes(rows.table).column(0)
        while row is not None and row < rows.stop:
            yield DropReason.IMAGE_BROKEN if cells is None else cells[row - rows.start].as_py()
            row = next(todo, None)


def _is_inside(path: str | None) -> bool:
    """Whether an image's path leads to a place below the pool, as text: no root, no way up, nothing unprintable."""
    if not path or "\0" in path or "\ufffd" in path:
        return False
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and bool(parts.parts)
