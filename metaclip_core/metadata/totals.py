"""Runs of page views, added up out of core: one language at a time, its titles ranked."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import fs

from metaclip_core.metadata.pageview_lines import VIEWS
from metaclip_core.metadata.parts import database, execute_by_parts
from metaclip_core.metadata.store import OFFERED

_COUNTS = pa.schema([VIEWS.field("title"), VIEWS.field("views")])


def total_views(
    filesystem: fs.FileSystem,
    runs: Sequence[str],
    *,
    language: str,
    min_views: int,
    scratch: str,
    memory_bytes: int,
) -> pa.Table:
    """The titles of `language`, OFFERED, by views; equal ones by code point. The same however the runs were split.

    Args:
        filesystem: holds `runs`.
        runs: paths of all runs of `pageviews.count_views`; only row groups of the language are read.
        language: a metadata language.
        min_views: titles with fewer are left out.
        scratch: an empty folder of this machine, for what does not fit in memory.
        memory_bytes: for DuckDB; some hundred megabytes and the result come on top.

    Raises:
        OSError: the store failed.
        duckdb.Error: `scratch` is full.
    """
    if not runs:
        return OFFERED.empty_table()
    scanner = ds.dataset(list(runs), filesystem=filesystem, format="parquet").scanner(
        columns=_COUNTS.names,
        filter=pc.field("language") == language,
        batch_readahead=2,
        fragment_readahead=1,
        use_threads=False,
    )
    with database(scratch, memory_bytes=memory_bytes) as summed:
        summed.connection.execute("CREATE TABLE titles (entry VARCHAR, score DOUBLE)")
        execute_by_parts(
            summed,
            "INSERT INTO titles SELECT title, sum(views) FROM part GROUP BY title HAVING sum(views) >= $min_views",
            scanner.to_batches(),
            keys=["title"],
            schema=_COUNTS,
            min_views=min_views,
        )
        ranked = summed.connection.sql("SELECT entry, score FROM titles ORDER BY score DESC, entry")
        return ranked.to_arrow_reader().read_all().cast(OFFERED)
