"""Counting the files that metadata are made of: each file, or slice of a large one, by itself and once.

What was counted lies in a folder of its own, whose name is a hash of the file's name, size and time, and of all that
the counts depend on. A build that is killed, or run again with other limits, finds it there.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.dumpfiles import find_inputs
from metaclip_core.metadata.dumps import Slice
from metaclip_core.metadata.ngrams import write_runs
from metaclip_core.metadata.pageviews import count_views
from metaclip_core.metadata.wikipedia import read_phrases
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.metadata import BuildConfig

REVISION = 2
_DONE = "done.json"
_DIGESTED_BYTES = 8 << 20  # at once


class CountKind(StrEnum):
    """What is counted in a file."""

    NGRAMS = "ngrams"
    VIEWS = "views"


@dataclass(frozen=True, kw_only=True)
class CountItem:
    """A file, or a slice of one, to count; one row of the data set."""

    kind: CountKind
    file_uri: str
    offset: int
    end: int
    language: str  # "" for page views: a file has them all
    uri: str  # of the folder with the counts

    @property
    def name(self) -> str:
        """Of the file."""
        return self.file_uri.rpartition("/")[2]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """An item, and what its count left."""

    item: CountItem
    digest: str  # SHA-256 of the bytes that were counted
    funnel: Funnel
    run_uris: list[str]
    num_words: int  # 0 of page views
    languages: frozenset[str]  # of the counts


def count_item(
    config: RunConfig, kind: CountKind, file_uri: str, file: storage.FileStamp, part: Slice, *, language: str
) -> CountItem:
    """The item of a part of a file."""
    version = storage.version_of(
        f"metadata_{kind}",
        REVISION,
        name=file_uri.rpartition("/")[2],
        file=asdict(file),
        part=asdict(part),
        language=language,
        max_page_bytes=config.metadata.build.wikipedia.max_page_bytes if kind is CountKind.NGRAMS else None,
    )
    uri = storage.Layout(config.root).metadata_counts(version)
    return CountItem(kind=kind, file_uri=file_uri, offset=part.offset, end=part.end, language=language, uri=uri)


def apply_count(items: list[CountItem], config: RunConfig) -> ray.data.Dataset:
    """Items → their URIs, counted. Lazy."""
    blocks = min(len(items), config.compute.shard_blocks)
    return ray.data.from_items([asdict(item) for item in items], override_num_blocks=blocks).map_batches(
        partial(count_batch, build=config.metadata.build),
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
    )


def count_batch(items: pa.Table, *, build: BuildConfig) -> pa.Table:
    """Count each item of a table, and publish what was counted."""
    for row in items.to_pylist():
        item = CountItem(**{**row, "kind": CountKind(row["kind"])})
        funnel = Funnel()
        count = _count_views if item.kind is CountKind.VIEWS else _count_ngrams
        counted = count(item, build, funnel)
        storage.write_json(
            storage.join(item.uri, _DONE), {**counted, "digest": _digest(item), "funnel": funnel.to_records()}
        )
    return items.select(["uri"])


def uncounted(items: list[CountItem]) -> list[CountItem]:
    """Those without a published count."""
    return [item for item in items if not storage.exists(storage.join(item.uri, _DONE))]


def read_counted(item: CountItem) -> Counted:
    """What the count of an item left. Raises FileNotFoundError."""
    done = storage.read_json(storage.join(item.uri, _DONE))
    return Counted(
        item=item,
        digest=done["digest"],
        funnel=Funnel.from_records(done["funnel"]),
        run_uris=[storage.join(_runs_folder(item), name) for name in done["runs"]],
        num_words=done["num_words"],
        languages=frozenset(done["languages"]),
    )


def _runs_folder(item: CountItem) -> str:
    """The URI of the folder that has the runs alone."""
    return storage.join(item.uri, "runs")


def _digest(item: CountItem) -> str:
    """SHA-256 of the item's bytes, read once more: little beside counting them."""
    filesystem, path = storage.resolve(item.file_uri)
    digest = hashlib.sha256()
    with filesystem.open_input_file(path) as file:
        file.seek(item.offset)
        while data := file.read(min(_DIGESTED_BYTES, item.end - file.tell())):
            digest.update(data)
    return digest.hexdigest()


def _count_ngrams(item: CountItem, build: BuildConfig, funnel: Funnel) -> dict[str, Any]:
    wikipedia = build.wikipedia
    [source] = find_inputs([item.name], funnel=Funnel())
    filesystem, path = storage.resolve(item.file_uri)
    runs_filesystem, runs_path = storage.resolve(_runs_folder(item))
    with filesystem.open_input_file(path) as file:
        phrases = read_phrases(
            file,
            source,
            Slice(item.offset, item.end),
            language=item.language,
            funnel=funnel,
            max_page_bytes=wikipedia.max_page_bytes,
        )
        runs = write_runs(phrases, runs_filesystem, runs_path, max_distinct=wikipedia.max_distinct)
    return {"runs": runs.names, "num_words": runs.num_words, "languages": [item.language]}


def _count_views(item: CountItem, build: BuildConfig, funnel: Funnel) -> dict[str, Any]:
    filesystem, path = storage.resolve(item.file_uri)
    runs_filesystem, runs_path = storage.resolve(_runs_folder(item))
    runs = count_views(
        filesystem,
        [path],
        runs_filesystem=runs_filesystem,
        run_path=f"{runs_path}/views",
        max_rows=build.titles.max_rows,
        funnel=funnel,
    )
    tables = [pq.read_table(run, columns=["language"], filesystem=runs_filesystem) for run in runs]
    languages = {language for table in tables for language in pc.unique(table["language"]).to_pylist()}
    return {"runs": [run.rpartition("/")[2] for run in runs], "num_words": 0, "languages": sorted(languages)}
