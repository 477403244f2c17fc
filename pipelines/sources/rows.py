"""Rows of a parquet file in their order, with memory bounded by some of them and errors told apart.

A row group that can't be decoded costs its rows that were not read yet. The store's failure is never the file's.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.steady import SteadyFile

_log = logging.getLogger(__name__)

_HELD_BYTES = 16 << 20  # of decoded cells
_MAX_HELD_ROWS = 1_024  # cells may share a value, so that few bytes in the file are many in memory
_REQUEST_BYTES = 4 << 20
# what pyarrow raises for a broken file: not MemoryError, for load must not decide what is dropped
_BROKEN = (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError, OSError, UnicodeDecodeError)


class BrokenFileError(Exception):
    """A file that is no parquet file, or not a whole one."""


@dataclass(frozen=True)
class Rows:
    """Neighbours of one row group; `table` is None where they can't be decoded."""

    start: int  # row in the file
    stop: int
    table: pa.Table | None


class ParquetRows:
    """A parquet file's schema and rows.

    Raises:
        BrokenFileError: no footer, or one that makes no sense.
        StoreError: the store fails.
    """

    def __init__(self, file: SteadyFile) -> None:
        self._file = file
        try:
            self._parquet = pq.ParquetFile(
                file, pre_buffer=False, buffer_size=_REQUEST_BYTES, page_checksum_verification=True
            )
            self.schema: pa.Schema = self._parquet.schema_arrow
            metadata = self._parquet.metadata
            self._num_rows = [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)]
        except _BROKEN as error:
            raise self._blame(error) from error
        if min(self._num_rows, default=0) < 0 or sum(self._num_rows) != metadata.num_rows:
            raise BrokenFileError("its row groups do not add up")
        if metadata.num_rows > file.size:
            raise BrokenFileError(f"{metadata.num_rows} rows in {file.size} bytes")

    def read(self, columns: Sequence[str], *, wanted: Sequence[int] | None = None) -> Iterator[Rows]:
        """The rows of the file in order, of some columns.

        Args:
            columns: at least one.
            wanted: rows, ascending; only row groups that hold one are read, up to the last one wanted. None: all.
        """
        start = 0
        for group, num_rows in enumerate(self._num_rows):
            stop = start + num_rows
            last = stop - 1 if wanted is None else _last_below(stop, wanted)
            if last >= start:
                yield from self._read_group(group, columns, start=start, stop=last + 1)
            start = stop

    def _read_group(self, group: int, columns: Sequence[str], *, start: int, stop: int) -> Iterator[Rows]:
        try:
            batches = self._parquet.iter_batches(
                self._held_rows(group), row_groups=[group], columns=list(columns), use_threads=False
            )
            for batch in batches:
                if start >= stop:
                    return
                yield Rows(start, start + batch.num_rows, pa.table(batch))
                start += batch.num_rows
        except _BROKEN as error:
            _log.warning("rows %d to %d can't be decoded: %s", start, stop, self._blame(error))
        if start < stop:
            yield Rows(start, stop, None)

    def _held_rows(self, group: int) -> int:
        """By all columns, though not all are read: pyarrow ends the process at a column's entry that is broken."""
        metadata = self._parquet.metadata.row_group(group)
        mean = max(1, metadata.total_byte_size) / max(1, metadata.num_rows)
        return max(1, min(_MAX_HELD_ROWS, int(_HELD_BYTES / mean)))

    def _blame(self, error: BaseException) -> BrokenFileError:
        """What a reader's error means. Raises StoreError when the store is at fault."""
        if self._file.failure is not None:
            raise self._file.failure from error
        return BrokenFileError(str(error))


def _last_below(stop: int, ascending: Sequence[int]) -> int:
    index = bisect_left(ascending, stop)
    return ascending[index - 1] if index else -1
