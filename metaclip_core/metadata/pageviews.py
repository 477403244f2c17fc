"""Titles by page views, from the hourly files of Wikimedia: `pageviews-YYYYMMDD-HH0000.gz`.

A line is `domain title views bytes`, with underscores for blanks. A Wikipedia's domains are its code for the desktop,
`<code>.m` for the mobile site and `<code>.zero` for the one without pictures; all count as one. Other projects (`en.b`,
`commons.m`, `www.w`) are left out. Wikipedias of one metadata language count together.

Left out here are titles with a colon, for that is how every namespace begins (`Special:`, `User:`, …), and the merge
drops all titles with one. `-`, for an unknown page, is left to the merge, which drops punctuation. Main pages stay, for
no table has their names in 300 languages; that costs one entry each.

Counting is bounded in memory: counts are written out as a run when there are too many to hold, and `totals` adds the
runs up out of core.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.pageview_lines import MAX_LINE_BYTES, VIEWS, views_of_lines

TITLE_SOURCE = "title"
FILES_STAGE = "page view files"
_CHUNK_BYTES = 1 << 20
_BLOCK_BYTES = 8 << 20


class FileDrop(StrEnum):
    """Why a file is not read, or not to its end."""

    UNKNOWN = "views_file_unknown"  # of another name than hourly files have
    EMPTY = "views_file_empty"
    TRUNCATED = "views_file_truncated"  # or corrupt; whole lines before the cut are kept
    UNREADABLE = "views_file_unreadable"  # no gzip at all


def count_views(
    filesystem: fs.FileSystem,
    paths: Sequence[str],
    *,
    runs_filesystem: fs.FileSystem,
    run_path: str,
    max_rows: int,
    funnel: Funnel,
) -> list[str]:
    """Count the titles of hourly files, and write the counts as runs.

    Runs are `<run_path>-00000.parquet`, `<run_path>-00001.parquet` and so on. A run is VIEWS by language, each
    with row groups of its own, so that one is read alone. The same files give runs with the same rows; `max_rows`
    decides how many, and nothing about their totals.

    Args:
        filesystem: holds `paths`.
        paths: of hourly files.
        runs_filesystem: takes the runs; their folder is made where missing.
        run_path: how their paths begin. Two calls must not share it.
        max_rows: of counts held in memory: about 100 bytes each at the peak, on top of some 400 MB.
        funnel: gets the counts, in stages FILES_STAGE (`FileDrop`) and LINES_STAGE (`LineDrop`).

    Returns:
        The paths of the runs. A title may be in several of them.

    Raises:
        OSError: a file cannot be read: the store fails, not the gzip.
    """
    runs: list[str] = []
    held: list[pa.Table] = []
    num_held = 0
    runs_filesystem.create_dir(run_path.rpartition("/")[0], recursive=True)
    for path in paths:
        with filesystem.open_input_stream(path, compression=None) as stream:
            for lines in _blocks_of_lines(_inflated(stream, funnel)):
                held.append(views_of_lines(lines, funnel))
                num_held += held[-1].num_rows
                if num_held >= max_rows:
                    held = [_summed(held)]
                    num_held = held[0].num_rows
                if num_held >= max_rows // 2 and len(held) == 1:  # adding up does not help any more
                    runs.append(_write_run(runs_filesystem, f"{run_path}-{len(runs):05d}.parquet", held[0]))
                    held, num_held = [], 0
    if num_held:
        runs.append(_write_run(runs_filesystem, f"{run_path}-{len(runs):05d}.parquet", _summed(held)))
    return runs


def _summed(tables: Sequence[pa.Table]) -> pa.Table:
    """VIEWS with each title of a language once, by language; titles in no order."""
    grouped = pa.concat_tables(tables).group_by(["language", "title"], use_threads=False)
    summed = grouped.aggregate([("views", "sum")]).rename_columns(VIEWS.names)
    return summed.sort_by("language")


def _write_run(filesystem: fs.FileSystem, path: str, table: pa.Table) -> str:
    languages = table["language"].combine_chunks()
    ends = languages.value_counts().field("counts").to_pylist()  # in the order of the languages, which is sorted
    with filesystem.open_output_stream(path) as file, pq.ParquetWriter(file, VIEWS, compression="zstd") as writer:
        start = 0
        for num_rows in ends:
            writer.write_table(table.slice(start, num_rows))
            start += num_rows
    return path


def _blocks_of_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Blocks of whole lines; what follows the last newline is none. Of an overlong line its first part stays one."""
    block = bytearray()
    for chunk in chunks:
        block += chunk
        if len(block) >= _BLOCK_BYTES:
            lines, newline, unfinished = block.rpartition(b"\n")
            yield bytes(lines + newline)
            block = unfinished[: MAX_LINE_BYTES + 1]
    lines, newline, _ = block.rpartition(b"\n")
    yield bytes(lines + newline)


def _inflated(stream: BinaryIO, funnel: Funnel) -> Iterator[bytes]:
    """The bytes of a gzip up to where it is cut; if it is not, its last line is closed."""
    funnel.enter(FILES_STAGE)
    chunk = last = b""
    try:
        with gzip.GzipFile(fileobj=stream) as file:
            while chunk := file.read1(_CHUNK_BYTES):
                last = chunk
                yield chunk
    except (EOFError, zlib.error, gzip.BadGzipFile):
        funnel.drop(FILES_STAGE, FileDrop.TRUNCATED if last else FileDrop.UNREADABLE)
    else:
        if not last:
            funnel.drop(FILES_STAGE, FileDrop.EMPTY)
        elif not last.endswith(b"\n"):
            yield b"\n"
