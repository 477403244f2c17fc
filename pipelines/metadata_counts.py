"""Counting the files that metadata are made of: each file, or slice of a large one, by itself and once.

What was counted lies in a folder of its own, whose name is a hash of the file's name, size and time, and of all that
the counts depend on. A build that is killed, or run again with other limits, finds it there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.languages import Namespace, metadata_language
from metaclip_core.metadata.dumpfiles import InputFile, InputKind, find_inputs
from metaclip_core.metadata.dumps import Slice, plan_slices
from metaclip_core.metadata.ngrams import write_runs
from metaclip_core.metadata.pageviews import count_views
from metaclip_core.metadata.wikipedia import read_phrases
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.metadata import BuildConfig
from pipelines.errors import UserError

REVISION = 1
_DONE = "done.json"
_DIGESTED_BYTES = 8 << 20  # at once
_VIEWS_SUFFIX = ".gz"
_VIEWS_PREFIX = "pageviews-"


class CountKind(StrEnum):
    """What is counted in a file."""

    NGRAMS = "ngrams"
    VIEWS = "views"


@dataclass(frozen=True, kw_only=True)
class CountItem:
    """A file, or a slice of one, to count; one row of the data set."""

    kind: CountKind
    name: str
    offset: int
    end: int
    language: str  # "" for page views: a file has them all
    uri: str  # of the folder with the counts


def plan(config: RunConfig, folder_uri: str, names: list[str], kind: CountKind, *, funnel: Funnel) -> list[CountItem]:
    """The items of a folder, in order of their names.

    Raises:
        UserError: a Wikipedia is there twice.
    """
    build = config.metadata.build
    if kind is CountKind.VIEWS:
        uris = [storage.join(folder_uri, name) for name in sorted(names) if is_views(name)]
        return [_item(config, kind, uri, _whole(uri), language="") for uri in uris]
    try:
        inputs = find_inputs(names)
    except ValueError as error:
        raise UserError(f"{folder_uri}: {error}") from error
    return [
        _item(config, kind, storage.join(folder_uri, file.name), part, language=language)
        for file in inputs
        if (language := language_of(file)) and is_wanted(build, language)
        for part in _slices(folder_uri, file, build, funnel)
    ]


def is_views(name: str) -> bool:
    """Whether a file of this name has page views."""
    return name.startswith(_VIEWS_PREFIX) and name.endswith(_VIEWS_SUFFIX)


def is_wanted(build: BuildConfig, language: str) -> bool:
    """Whether the recipe asks for a language."""
    return build.languages is None or language in build.languages


def language_of(file: InputFile) -> str:
    """The metadata language of a file of Wikipedia."""
    return metadata_language(file.wiki, namespace=Namespace.WIKIPEDIA)


def apply_count(items: list[CountItem], config: RunConfig) -> ray.data.Dataset:
    """Items → their URIs, counted. Lazy."""
    blocks = min(len(items), config.compute.shard_blocks)
    return ray.data.from_items([asdict(item) for item in items], override_num_blocks=blocks).map_batches(
        partial(count_batch, build=config.metadata.build, root=config.root),
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
    )


def count_batch(items: pa.Table, *, build: BuildConfig, root: str) -> pa.Table:
    """Count each item of a table, and publish what was counted."""
    for row in items.to_pylist():
        item = CountItem(**{**row, "kind": CountKind(row["kind"])})
        funnel = Funnel()
        counted = (
            _count_views(item, build, root, funnel)
            if item.kind is CountKind.VIEWS
            else _count_ngrams(item, build, root, funnel)
        )
        digest = _digest(item, build, root)
        storage.write_json(storage.join(item.uri, _DONE), {**counted, "digest": digest, "funnel": funnel.to_records()})
    return items.select(["uri"])


def uncounted(items: list[CountItem]) -> list[CountItem]:
    """Those without a published count."""
    return [item for item in items if not storage.exists(storage.join(item.uri, _DONE))]


def read_counted(item: CountItem) -> dict[str, Any]:
    """What the count of an item left beside its runs. Raises FileNotFoundError."""
    counted: dict[str, Any] = storage.read_json(storage.join(item.uri, _DONE))
    return counted


def runs_folder(item: CountItem) -> str:
    """The URI of the folder that has the runs alone."""
    return storage.join(item.uri, "runs")


def _place(item: CountItem, build: BuildConfig, root: str) -> tuple[fs.FileSystem, str]:
    uri = build.titles.uri if item.kind is CountKind.VIEWS else build.wikipedia.uri
    return storage.resolve(storage.join(storage.absolute(uri or "", base=root), item.name))


def _digest(item: CountItem, build: BuildConfig, root: str) -> str:
    """SHA-256 of the item's bytes, read once more: little beside counting them."""
    filesystem, path = _place(item, build, root)
    digest = hashlib.sha256()
    with filesystem.open_input_file(path) as file:
        file.seek(item.offset)
        while data := file.read(min(_DIGESTED_BYTES, item.end - file.tell())):
            digest.update(data)
    return digest.hexdigest()


def _count_ngrams(item: CountItem, build: BuildConfig, root: str, funnel: Funnel) -> dict[str, Any]:
    wikipedia = build.wikipedia
    [source] = [file for file in find_inputs([item.name]) if file.name == item.name]
    filesystem, path = _place(item, build, root)
    runs_filesystem, runs_path = storage.resolve(runs_folder(item))
    with filesystem.open_input_file(path) as file:
        phrases = read_phrases(
            file,
            source,
            Slice(item.offset, item.end),
            language=item.language,
            funnel=funnel,
            max_page_bytes=wikipedia.max_page_bytes,
        )
        num_words = write_runs(phrases, runs_filesystem, runs_path, max_distinct=wikipedia.max_distinct)
    return {"num_words": num_words}


def _count_views(item: CountItem, build: BuildConfig, root: str, funnel: Funnel) -> dict[str, Any]:
    filesystem, path = _place(item, build, root)
    runs_filesystem, runs_path = storage.resolve(runs_folder(item))
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
    return {"num_runs": len(runs), "languages": sorted(languages)}


def _slices(folder_uri: str, file: InputFile, build: BuildConfig, funnel: Funnel) -> Iterator[Slice]:
    whole = _whole(storage.join(folder_uri, file.name))
    if file.kind is not InputKind.DUMP or file.index is None:
        yield whole
        return
    index_uri = storage.join(folder_uri, file.index)
    filesystem, path = storage.resolve(index_uri)
    with filesystem.open_input_file(path) as index:
        yield from plan_slices(
            index,
            index_bytes=storage.stamp(index_uri).size,
            dump_bytes=whole.end,
            slice_bytes=build.wikipedia.slice_mb << 20,
            funnel=funnel,
        )


def _whole(uri: str) -> Slice:
    return Slice(0, storage.stamp(uri).size)


def _item(config: RunConfig, kind: CountKind, file_uri: str, part: Slice, *, language: str) -> CountItem:
    name = file_uri.rpartition("/")[2]
    version = storage.version_of(
        f"metadata_{kind}",
        REVISION,
        name=name,
        file=asdict(storage.stamp(file_uri)),
        part=asdict(part),
        language=language,
        max_page_bytes=config.metadata.build.wikipedia.max_page_bytes if kind is CountKind.NGRAMS else None,
    )
    uri = storage.Layout(config.root).metadata_counts(version)
    return CountItem(kind=kind, name=name, offset=part.offset, end=part.end, language=language, uri=uri)
