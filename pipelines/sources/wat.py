"""Common Crawl's WAT files (`*.warc.wat.gz`): one gzip member for each record, and the record's content is JSON."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO, Any

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.links import merge_links
from metaclip_core.records import LINK, DropReason, Stage
from metaclip_core.wat import LinkLimits, read_links
from pipelines.errors import UserError
from pipelines.sources.gunzip import GzipFault, read_gzip_members

try:
    from fastwarc.warc import ArchiveIterator, WarcRecordType
except ModuleNotFoundError:
    _INSTALLED = False
else:
    _INSTALLED = True

SUFFIX = ".warc.wat.gz"
MAX_RECORD_BYTES = 16 << 20
_BATCH_ROWS = 1 << 14  # links held as Python objects
_RUN_ROWS = 1 << 19  # links combined at once


def check_installed() -> None:
    """Raises UserError when the extra that reads these files is not installed."""
    if not _INSTALLED:
        raise UserError("fastwarc is not installed: pip install '.[wat]' in the checkout")


def read_wat(stream: IO[bytes], *, limits: LinkLimits, funnel: Funnel, run_rows: int = _RUN_ROWS) -> Iterator[pa.Table]:
    """The links of a file as tables of LINK, each with every pair id once and sorted by it.

    Memory is bounded by `run_rows`, the links that are combined at once: a larger file gives several tables.
    """
    run: list[pa.Table] = []
    for batch in _batches(_contents(stream, funnel), limits, funnel):
        run.append(batch)
        if sum(table.num_rows for table in run) >= run_rows:
            run = [merge_links(pa.concat_tables(run))]
            if run[0].num_rows >= run_rows // 2:
                yield run.pop()
    if run:
        yield merge_links(pa.concat_tables(run))


def _batches(contents: Iterator[bytes], limits: LinkLimits, funnel: Funnel) -> Iterator[pa.Table]:
    rows: list[dict[str, Any]] = []
    for content in contents:
        rows += read_links(content, limits=limits, funnel=funnel)
        if len(rows) >= _BATCH_ROWS:
            yield pa.Table.from_pylist(rows, LINK)
            rows = []
    if rows:
        yield pa.Table.from_pylist(rows, LINK)


def _contents(stream: IO[bytes], funnel: Funnel) -> Iterator[bytes]:
    """The contents of the metadata records of a file."""
    funnel.enter(Stage.SHARDS)
    num_members, last = 0, None
    for member in read_gzip_members(stream, max_bytes=MAX_RECORD_BYTES):
        last = member
        if isinstance(member, GzipFault):
            over_limit = member is GzipFault.OVER_LIMIT
            num_members += over_limit
            reason = DropReason.RECORD_BYTES_OVER_LIMIT if over_limit else DropReason.RECORD_BROKEN
            funnel.enter(Stage.RECORDS)
            funnel.drop(Stage.RECORDS, reason)
            continue
        num_members += 1
        yield from _records(member, funnel)
    if not num_members:
        funnel.drop(Stage.SHARDS, DropReason.SHARD_UNREADABLE)
    elif last is GzipFault.TRUNCATED:
        funnel.drop(Stage.SHARDS, DropReason.SHARD_TRUNCATED)


def _records(member: bytes, funnel: Funnel) -> Iterator[bytes]:
    archive = ArchiveIterator(io.BytesIO(member), parse_http=False, record_types=WarcRecordType.metadata)
    try:
        for record in archive:
            yield record.reader.read()
    except OSError:  # what fastwarc says of a header that is none
        funnel.enter(Stage.RECORDS)
        funnel.drop(Stage.RECORDS, DropReason.RECORD_BROKEN)
