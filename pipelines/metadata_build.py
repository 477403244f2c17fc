"""Building metadata: WordNets, Wikipedias and page views → entry lists, a language at a time.

Files are found (`metadata_sources`) and counted (`metadata_counts`), the counts of a language are merged with what
other sources have for it (`metadata_merge`), and the languages become a version. Each file and each language is done
once, and found again.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from metaclip_core.funnel import Funnel
from metaclip_core.languages import OTHER
from metaclip_core.metadata.browse import sample_entries
from metaclip_core.metadata.merge import union
from metaclip_core.metadata.provenance import SourceFile, provenance
from metaclip_core.metadata.store import Manifest, read_manifest
from pipelines import metadata, storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.identifier import open_identifier
from pipelines.metadata_counts import Counted, CountItem, CountKind, apply_count, read_counted, uncounted
from pipelines.metadata_merge import MergeItem, apply_merge, limits, merge_item, read_merged, unmerged
from pipelines.metadata_report import metadata_page
from pipelines.metadata_sources import SECTION_OF, Sources, find_sources, is_wanted
from pipelines.shards import Progress

_SAMPLES_PER_SOURCE = 12
_LICENCES = {CountKind.NGRAMS: ("CC BY-SA 4.0",), CountKind.VIEWS: ("CC0 1.0",)}


@dataclass(frozen=True)
class BuiltMetadata:
    """A version, where it lies, and the page that shows it."""

    version: str
    manifest: Manifest
    report_uri: str


def build_metadata(config: RunConfig, *, progress: Progress) -> BuiltMetadata:
    """Build the recipe's metadata, and give its metadata name the new version; run again, it continues.

    Raises:
        UserError: a source that the recipe requires is not there, or none is.
    """
    reachable = open_identifier(config).reachable
    sources = find_sources(config)
    with connected(config.compute):
        counted = _count(sources.items, config, progress)
        merged = _merge(sources, counted, config, progress)
    return _publish(merged, sources, counted, config, reachable=reachable)


def _count(items: list[CountItem], config: RunConfig, progress: Progress) -> list[Counted]:
    """Count each item that is not counted yet."""
    todo = uncounted(items)
    done = len(items) - len(todo)
    progress("count", done, len(items))
    for _ in apply_count(todo, config).iter_rows() if todo else ():
        done += 1
        progress("count", done, len(items))
    return [read_counted(item) for item in items]


def _merge(sources: Sources, counted: list[Counted], config: RunConfig, progress: Progress) -> list[MergeItem]:
    """Merge each language that a source has something for and that is not merged yet."""
    found = frozenset(sources.wordnets).union(*(one.languages for one in counted))
    languages = sorted(language for language in found if is_wanted(config.metadata.build, language))
    if not languages:
        raise UserError("no source has a word in any language that metadata.build.languages asks for")
    items = [merge_item(config, language, counted, sources.wordnets.get(language)) for language in languages]
    todo = unmerged(items)
    done = len(items) - len(todo)
    progress("merge", done, len(items))
    for _ in apply_merge(todo, counted, config).iter_rows() if todo else ():
        done += 1
        progress("merge", done, len(items))
    return items


def _publish(
    merged: list[MergeItem], sources: Sources, counted: list[Counted], config: RunConfig, *, reachable: frozenset[str]
) -> BuiltMetadata:
    """Write the version, and its page: a file for each reachable language, and one for all others together."""
    layout, build = storage.Layout(config.root), config.metadata.build
    read = {item.language: read_merged(item) for item in merged}
    tables = {language: table for language, (table, _) in read.items() if language in reachable}
    unnamed = {language: table for language, (table, _) in read.items() if language not in reachable}
    if unnamed:
        tables[OTHER] = union(unnamed, limits(build))
    origin = provenance(
        files=[*sources.wordnet_files, *_source_files(counted)],
        merged={language: statistics for language, (_, statistics) in read.items()},
        missing=sources.missing,
        num_words=_num_words(counted),
        funnel=_funnel(sources, counted),
        settings={**build.model_dump(mode="json"), "merged_into_other": sorted(unnamed)},
    )
    version = metadata.publish(tables, config, provenance=origin)
    manifest = read_manifest(*storage.resolve(layout.metadata(version)))
    samples = {language: sample_entries(table, per_source=_SAMPLES_PER_SOURCE) for language, table in tables.items()}
    report_uri = storage.join(layout.report(f"metadata-{version}"), "index.html")
    page = metadata_page(manifest, samples, name=f"{config.metadata.name}, version {version}")
    storage.write_bytes(report_uri, page.encode())
    return BuiltMetadata(version=version, manifest=manifest, report_uri=report_uri)


def _source_files(counted: Sequence[Counted]) -> list[SourceFile]:
    """The files of counted items; the digest of one in several slices is that of its slices' digests."""
    by_file: dict[str, list[Counted]] = {}
    for one in counted:
        by_file.setdefault(one.item.file_uri, []).append(one)
    files = []
    for slices in by_file.values():
        item, digests = slices[0].item, [one.digest for one in slices]
        joint = hashlib.sha256("".join(digests).encode()).hexdigest()
        files.append(
            SourceFile(
                source=SECTION_OF[item.kind],
                name=item.name,
                num_bytes=max(one.item.end for one in slices),
                digest=f"sha256:{digests[0]}" if len(slices) == 1 else f"sha256-of-{len(slices)}-slices:{joint}",
                licences=_LICENCES[item.kind],
                languages=tuple(sorted(frozenset().union(*(one.languages for one in slices)))),
            )
        )
    return files


def _num_words(counted: Sequence[Counted]) -> dict[str, int]:
    """The words of each language's Wikipedias."""
    num_words: Counter[str] = Counter()
    for one in counted:
        if one.item.kind is CountKind.NGRAMS:
            num_words[one.item.language] += one.num_words
    return dict(sorted(num_words.items()))


def _funnel(sources: Sources, counted: Sequence[Counted]) -> Funnel:
    funnel = Funnel().add(sources.funnel)
    for one in counted:
        funnel.add(one.funnel)
    return funnel
