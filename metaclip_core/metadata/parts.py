"""Queries over more rows than memory holds, a part after the other: rows of equal keys are in one part.

DuckDB's aggregation goes to disk too, but what it holds at once is then a fixed share of all keys, and it fails where
that is over its limit: on one thread, at some seven times as many keys as fit (`failed to pin block`). So rows are
spread over files first, by a hash of their keys, and each file is aggregated alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HELD_BYTES = 16 << 20  # of rows; fewer are one part, and never on disk
NUM_PARTS = 256  # each an open file
# The bits of a hash that make a part are none of those by which DuckDB's own tables find a place in memory.
_PART_OF = "SELECT ((hash({keys}) >> 24) & 255)::UTINYINT AS part FROM held"


@dataclass(frozen=True, kw_only=True)
class Database:
    """A database on disk."""

    connection: duckdb.DuckDBPyConnection
    scratch: str  # the folder of this machine that it lies in


@contextmanager
def database(scratch: str, *, memory_bytes: int) -> Iterator[Database]:
    """An empty database, on one thread.

    Args:
        scratch: an empty folder of this machine, for the database and what does not fit in memory.
        memory_bytes: for DuckDB; some hundred megabytes come on top.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{memory_bytes}B",
        "temp_directory": f"{scratch}/spill",
        "preserve_insertion_order": False,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(f"{scratch}/counts.duckdb", config=config) as connection:
        yield Database(connection=connection, scratch=scratch)


def execute_by_parts(
    within: Database,
    query: str,
    batches: Iterable[pa.RecordBatch],
    *,
    keys: Sequence[str],
    schema: pa.Schema,
    **parameters: Any,  # noqa: ANN401  as DuckDB takes them
) -> None:
    """Execute `query`, which reads the table `part` once, for each part of some rows.

    Args:
        within: what to ask; its folder holds the rows, compressed, until they were read.
        query: one for which rows of different keys have nothing to do with each other.
        batches: the rows, of `schema`; they may come from another cursor of the database.
        keys: columns of the rows.
        schema: of the rows.
        parameters: of the query.
    """
    connection = within.connection
    with TemporaryDirectory(dir=within.scratch) as folder:
        for part in _parts(connection, batches, keys, schema, Path(folder)):
            connection.register("part", part)
            connection.execute(query, parameters)
            connection.unregister("part")


def _parts(
    connection: duckdb.DuckDBPyConnection,
    batches: Iterable[pa.RecordBatch],
    keys: Sequence[str],
    schema: pa.Schema,
    folder: Path,
) -> Iterator[pa.RecordBatchReader]:
    paths = [folder / f"{number}.arrows" for number in range(NUM_PARTS)]
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with ExitStack() as files:
        writers: list[pa.ipc.RecordBatchStreamWriter] = []
        for table in _held(batches, schema):
            if not writers and table.nbytes < HELD_BYTES:  # the first, and the last
                yield table.to_reader()
                return
            writers = writers or [
                files.enter_context(pa.ipc.new_stream(str(path), schema, options=options)) for path in paths
            ]
            _spread(connection, table, keys, writers)
    for path in paths:
        with pa.OSFile(str(path)) as file:
            yield pa.ipc.open_stream(file)
        path.unlink()


def _held(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of at least HELD_BYTES, and a last one of less."""
    held: list[pa.RecordBatch] = []
    num_bytes = 0
    for batch in batches:
        held.append(batch)
        num_bytes += batch.nbytes
        if num_bytes >= HELD_BYTES:
            yield pa.Table.from_batches(held, schema)
            held, num_bytes = [], 0
    yield pa.Table.from_batches(held, schema)


def _spread(
    connection: duckdb.DuckDBPyConnection,
    table: pa.Table,
    keys: Sequence[str],
    writers: Sequence[pa.ipc.RecordBatchStreamWriter],
) -> None:
    """Write each row to the writer of its part."""
    connection.register("held", table)
    part_of = connection.sql(_PART_OF.format(keys=", ".join(keys))).to_arrow_table()["part"]
    connection.unregister("held")
    ordered = table.take(pc.array_sort_indices(part_of.combine_chunks()))
    start = 0
    for writer, num_rows in zip(writers, np.bincount(part_of, minlength=NUM_PARTS).tolist(), strict=True):
        writer.write_table(ordered.slice(start, num_rows))
        start += num_rows
