"""Runs of page views, added up out of core: one language at a time, its titles ranked."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from metaclip_core.metadata.store import OFFERED

_QUERY = """
    SELECT title AS entry, CAST(sum(views) AS DOUBLE) AS score FROM runs
    GROUP BY title HAVING sum(views) >= ? ORDER BY sum(views) DESC, title
"""


def total_views(
    filesystem: fs.FileSystem,
    runs: Sequence[str],
    *,
    language: str,
    min_views: int,
    memory_limit: str,
    temp_directory: str,
) -> pa.Table:
    """The titles of `language`, OFFERED, by views; equal ones by code point. The same however the runs were split.

    Args:
        filesystem: holds `runs`.
        runs: paths of all runs of `pageviews.count_views`; only row groups of the language are read.
        language: a metadata language.
        min_views: titles with fewer are left out.
        memory_limit: of the sums, as DuckDB writes it: `1GB`. What does not fit goes to `temp_directory`; the
            result itself comes on top.
        temp_directory: on this machine.
    """
    if not runs:
        return OFFERED.empty_table()
    dataset = ds.dataset(list(runs), filesystem=filesystem, format="parquet")
    scanner = dataset.scanner(
        columns=["title", "views"],
        filter=pc.field("language") == language,
        batch_readahead=2,
        fragment_readahead=1,
        use_threads=False,
    )
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": memory_limit,
        "temp_directory": temp_directory,
        "threads": 1,
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    with duckdb.connect(":memory:", config=settings) as connection:
        connection.register("runs", scanner.to_reader())
        return connection.sql(_QUERY, params=[min_views]).to_arrow_reader().read_all().cast(OFFERED)
