"""Building metadata: WordNets, Wikipedias and page views → entry lists, a language at a time.

Three steps: files are counted (`metadata_counts`), the counts of a language are added up and merged with what other
sources have for it, and the languages become a version. Each file and each language is done once, and found again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.languages import OTHER
from metaclip_core.metadata.browse import sample_entries
from metaclip_core.metadata.importing import NUMBERS
from metaclip_core.metadata.merge import Colons, Combine, MergedSource, SourceLimits, merge, union
from metaclip_core.metadata.ngrams import bigram_entries, totals, unigram_entries
from metaclip_core.metadata.provenance import SourceFile, provenance
from metaclip_core.metadata.store import OFFERED, Manifest, read_manifest
from metaclip_core.metadata.totals import total_views
from metaclip_core.metadata.wordnet import read_wordnets
from pipelines import metadata, storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.config.metadata import BuildConfig, MetadataSource
from pipelines.errors import UserError
from pipelines.identifier import open_identifier
from pipelines.metadata_counts import (
    CountItem,
    CountKind,
    apply_count,
    is_wanted,
    plan,
    read_counted,
    runs_folder,
    uncounted,
)
from pipelines.metadata_report import metadata_page

REVISION = 1
Progress = Callable[[str, int, int], None]

_ENTRIES, _STATISTICS = "entries.parquet", "statistics.json"
_SAMPLES_PER_SOURCE = 12
_EXPECTED = {
    MetadataSource.WORDNET: ("wordnet", "data.noun … of Princeton's dict, wn-data-<lang>.tab, or WN-LMF .xml"),
    MetadataSource.UNIGRAM: ("wikipedia", "<wiki>-<date>-pages-articles-multistream.xml.bz2, or <wiki>.txt"),
    MetadataSource.BIGRAM: ("wikipedia", "<wiki>-<date>-pages-articles-multistream.xml.bz2, or <wiki>.txt"),
    MetadataSource.TITLE: ("titles", "pageviews-YYYYMMDD-HH0000.gz"),
}


_COUNTED = {
    CountKind.NGRAMS: (MetadataSource.UNIGRAM, MetadataSource.BIGRAM),
    CountKind.VIEWS: (MetadataSource.TITLE,),
}
_LICENCES = {CountKind.NGRAMS: ("CC BY-SA 4.0",), CountKind.VIEWS: ("CC0 1.0",)}


@dataclass(frozen=True)
class BuiltMetadata:
    """A version, where it lies, and the page that shows it."""

    version: str
    manifest: Manifest
    report_uri: str


@dataclass(frozen=True, kw_only=True)
class _Inputs:
    """All that entries are made of."""

    items: list[CountItem]
    wordnets_uri: str  # of a folder with an OFFERED file for each language
    wordnet_languages: frozenset[str]
    wordnet_files: list[SourceFile]
    missing: list[str]
    funnel: Funnel


def build_metadata(config: RunConfig, *, progress: Progress) -> BuiltMetadata:
    """Build the recipe's metadata, and give its metadata name the new version; run again, it continues.

    Raises:
        UserError: a source that the recipe requires is not there, or none is.
    """
    reachable = open_identifier(config).reachable
    inputs = _find(config)
    with connected(config.compute):
        _count(inputs.items, config, progress)
        languages = _languages(inputs, config.metadata.build)
        if not languages:
            raise UserError("no source has a word in any language that metadata.build.languages asks for")
        folders = _merge(languages, inputs, config, progress)
    return _publish(folders, inputs, config, reachable=reachable)


def limits(build: BuildConfig) -> list[SourceLimits]:
    """What of each source becomes entries, in the order in which sources win."""
    wikipedia, titles = build.wikipedia, build.titles
    special: dict[MetadataSource, dict[str, Any]] = {
        MetadataSource.UNIGRAM: {"cap": wikipedia.unigram_cap},
        MetadataSource.BIGRAM: {"cap": wikipedia.bigram_cap, "combine": Combine.MAX},
        MetadataSource.TITLE: {
            "cap": titles.cap,
            "min_score": float(titles.min_views),
            "share": titles.share,
            "colons": Colons.DROP,
        },
    }
    return [
        SourceLimits(name=source, max_chars=build.max_entry_chars, **special.get(source, {})) for source in build.order
    ]


def merge_batch(languages: pa.Table, *, items: Sequence[CountItem], wordnets_uri: str, build: BuildConfig) -> pa.Table:
    """Make the entries of each language of a table (language, uri), and publish them."""
    for row in languages.to_pylist():
        language, uri = row["language"], row["uri"]
        merged = merge(_offers(language, items, wordnets_uri, build), limits(build))
        storage.write_table(storage.join(uri, _ENTRIES), merged.table)
        statistics = {source: asdict(one) for source, one in merged.sources.items()}
        storage.write_json(storage.join(uri, _STATISTICS), statistics)
    return languages.select(["language"])


def _find(config: RunConfig) -> _Inputs:
    """List the files of all sources, and say what is not there."""
    build, funnel = config.metadata.build, Funnel()
    items: list[CountItem] = []
    missing: list[str] = []
    for kind, sources in _COUNTED.items():
        source = next((source for source in sources if source in build.order), None)
        if source is None:
            continue
        folder = _folder(source, config)
        found = plan(config, folder, _names(folder), kind, funnel=funnel) if folder else []
        if not found:
            missing.append(_absent(source, folder, build))
        items += found
    wordnets_uri, languages, files = _wordnets(config, missing, funnel)
    return _Inputs(
        items=items,
        wordnets_uri=wordnets_uri,
        wordnet_languages=languages,
        wordnet_files=files,
        missing=missing,
        funnel=funnel,
    )


def _wordnets(config: RunConfig, missing: list[str], funnel: Funnel) -> tuple[str, frozenset[str], list[SourceFile]]:
    """Read all WordNets, which are small, and leave a file for each language."""
    build = config.metadata.build
    folder = _folder(MetadataSource.WORDNET, config) if MetadataSource.WORDNET in build.order else ""
    if not folder:
        missing.append(_absent(MetadataSource.WORDNET, folder, build))
        return "", frozenset(), []
    try:
        found = read_wordnets(*storage.resolve(folder), words=build.wordnet.words, funnel=funnel)
    except FileNotFoundError as error:
        raise UserError(f"no such folder of WordNets: {folder}") from error
    if not found.tables:
        missing.append(_absent(MetadataSource.WORDNET, folder, build))
    digests = sorted(file.digest for file in found.files)
    version = storage.version_of("metadata_wordnets", REVISION, files=digests, words=build.wordnet.words)
    uri = storage.Layout(config.root).metadata_counts(version)
    for language, table in found.tables.items():
        storage.write_table(storage.join(uri, f"{language}.parquet"), table)
    return uri, frozenset(found.tables), found.files


def _folder(source: MetadataSource, config: RunConfig) -> str:
    """The folder of a source; "" where the recipe has none."""
    section, _ = _EXPECTED[source]
    uri = getattr(config.metadata.build, section).uri
    return storage.absolute(uri, base=config.root) if uri else ""


def _names(folder: str) -> list[str]:
    if not storage.exists(folder):
        raise UserError(f"no such folder: {folder}")
    return sorted(storage.list_names(folder))


def _absent(source: MetadataSource, folder: str, build: BuildConfig) -> str:
    """A line that says what is missing.

    Raises:
        UserError: the recipe requires it.
    """
    section, expected = _EXPECTED[source]
    where = f"{folder} has no {expected}" if folder else f"metadata.build.{section}.uri is not set ({expected})"
    needed = [one for one in build.required if one in _EXPECTED and _EXPECTED[one][0] == section]
    if needed:
        raise UserError(f"the recipe requires source {needed[0]}, and {where}")
    return f"{section}: {where}"


def _source_files(items: Sequence[CountItem]) -> list[SourceFile]:
    """The files of counted items; the digest of one in several slices is that of its slices' digests."""
    by_file: dict[tuple[CountKind, str], list[CountItem]] = {}
    for item in items:
        by_file.setdefault((item.kind, item.name), []).append(item)
    files = []
    for (kind, name), slices in by_file.items():
        counted = [read_counted(item) for item in slices]
        digests = [one["digest"] for one in counted]
        joint = hashlib.sha256("".join(digests).encode()).hexdigest()
        languages = {item.language for item in slices}.union(*(one.get("languages", []) for one in counted))
        files.append(
            SourceFile(
                source=_EXPECTED[_COUNTED[kind][0]][0],
                name=name,
                num_bytes=max(item.end for item in slices),
                digest=f"sha256:{digests[0]}" if len(slices) == 1 else f"sha256-of-{len(slices)}-slices:{joint}",
                licences=_LICENCES[kind],
                languages=tuple(sorted(languages - {""})),
            )
        )
    return files


def _count(items: list[CountItem], config: RunConfig, progress: Progress) -> None:
    todo = uncounted(items)
    done = len(items) - len(todo)
    progress("count", done, len(items))
    if not todo:
        return
    for _ in apply_count(todo, config).iter_rows():
        done += 1
        progress("count", done, len(items))


def _languages(inputs: _Inputs, build: BuildConfig) -> list[str]:
    """Every language that a source has something for."""
    found = {item.language for item in inputs.items} | inputs.wordnet_languages
    for item in inputs.items:
        if item.kind is CountKind.VIEWS:
            found.update(read_counted(item)["languages"])
    return sorted(language for language in found - {""} if is_wanted(build, language))


def _merge(languages: list[str], inputs: _Inputs, config: RunConfig, progress: Progress) -> dict[str, str]:
    """Merge each language that is not merged yet. Returns the folder of each."""
    layout, build = storage.Layout(config.root), config.metadata.build
    made_from = {"items": sorted(item.uri for item in inputs.items), "wordnets": inputs.wordnets_uri}
    settings = build.model_dump(mode="json", exclude={"languages", "required", "memory_mb"})
    folders = {
        language: layout.metadata_counts(
            storage.version_of("metadata_language", REVISION, language=language, build=settings, **made_from)
        )
        for language in languages
    }
    todo = [
        {"language": language, "uri": uri}
        for language, uri in folders.items()
        if not storage.exists(storage.join(uri, _STATISTICS))
    ]
    done = len(languages) - len(todo)
    progress("merge", done, len(languages))
    if todo:
        merged = ray.data.from_items(todo, override_num_blocks=min(len(todo), config.compute.shard_blocks)).map_batches(
            partial(merge_batch, items=inputs.items, wordnets_uri=inputs.wordnets_uri, build=build),
            batch_format="pyarrow",
            batch_size=1,
            num_cpus=1,
        )
        for _ in merged.iter_rows():
            done += 1
            progress("merge", done, len(languages))
    return folders


def _offers(
    language: str, items: Sequence[CountItem], wordnets_uri: str, build: BuildConfig
) -> Mapping[str, Sequence[pa.Table]]:
    """What each source has for a language, the best first, enough for its cap."""
    offers: dict[str, list[pa.Table]] = {}
    if wordnets_uri and MetadataSource.WORDNET in build.order:
        uri = storage.join(wordnets_uri, f"{language}.parquet")
        offers[MetadataSource.WORDNET] = [storage.read_table(uri)] if storage.exists(uri) else []
    with tempfile.TemporaryDirectory(prefix="metaclip-") as scratch:
        offers |= _ngram_offers(language, items, offers, build, scratch=scratch)
    with tempfile.TemporaryDirectory(prefix="metaclip-") as scratch:
        views = [item for item in items if item.kind is CountKind.VIEWS]
        if views and MetadataSource.TITLE in build.order:
            filesystem, paths = _run_paths(views)
            offers[MetadataSource.TITLE] = [
                total_views(
                    filesystem,
                    paths,
                    language=language,
                    min_views=build.titles.min_views,
                    memory_limit=f"{build.memory_mb}MB",
                    temp_directory=scratch,
                )
            ]
    return offers


def _ngram_offers(
    language: str,
    items: Sequence[CountItem],
    earlier: Mapping[str, Sequence[pa.Table]],
    build: BuildConfig,
    *,
    scratch: str,
) -> dict[str, list[pa.Table]]:
    """Unigrams and bigrams: as many as the cap asks for if all entries of earlier sources were among them."""
    folders = [runs_folder(item) for item in items if item.kind is CountKind.NGRAMS and item.language == language]
    if not folders:
        return {}
    wikipedia = build.wikipedia
    num_earlier = len(NUMBERS) + sum(table.num_rows for tables in earlier.values() for table in tables)
    filesystem, _ = storage.resolve(folders[0])
    paths = [storage.resolve(folder)[1] for folder in folders]
    with totals(filesystem, paths, scratch=scratch, memory_bytes=build.memory_mb << 20) as connection:
        unigrams = unigram_entries(
            connection,
            top_share=wikipedia.unigram_share,
            max_entries=wikipedia.unigram_cap + num_earlier,
            min_count=wikipedia.unigram_min_count,
        )
        bigrams = bigram_entries(
            connection,
            language,
            ranking=wikipedia.bigram_ranking,
            pmi_min=wikipedia.bigram_pmi_min,
            max_entries=wikipedia.bigram_cap + num_earlier + unigrams.num_rows,
            min_count=wikipedia.bigram_min_count,
        )
    found = {MetadataSource.UNIGRAM: unigrams, MetadataSource.BIGRAM: bigrams}
    return {source: [table.select(OFFERED.names)] for source, table in found.items() if source in build.order}


def _run_paths(items: Sequence[CountItem]) -> tuple[fs.FileSystem, list[str]]:
    filesystem, _ = storage.resolve(items[0].uri)
    return filesystem, sorted(
        storage.resolve(storage.join(runs_folder(item), name))[1]
        for item in items
        for name in storage.list_names(runs_folder(item))
    )


def _publish(
    folders: Mapping[str, str], inputs: _Inputs, config: RunConfig, *, reachable: frozenset[str]
) -> BuiltMetadata:
    """Write the version, and its page: a file for each reachable language, and one for all others together."""
    layout, build = storage.Layout(config.root), config.metadata.build
    tables = {language: storage.read_table(storage.join(uri, _ENTRIES)) for language, uri in folders.items()}
    merged = {
        language: {source: MergedSource(**one) for source, one in _statistics(uri).items()}
        for language, uri in folders.items()
    }
    unnamed = {language: tables.pop(language) for language in sorted(tables) if language not in reachable}
    if unnamed:
        tables[OTHER] = union(unnamed, limits(build))
    for item in inputs.items:
        inputs.funnel.add(Funnel.from_records(read_counted(item)["funnel"]))
    settings = {
        **build.model_dump(mode="json"),
        "merged_into_other": sorted(unnamed),
        "funnel": inputs.funnel.to_records(),
    }
    files = [*inputs.wordnet_files, *_source_files(inputs.items)]
    origin = provenance(files=files, merged=merged, missing=inputs.missing, settings=settings)
    version = metadata.publish(tables, config, provenance=origin)
    filesystem, path = storage.resolve(layout.metadata(version))
    manifest = read_manifest(filesystem, path)
    samples = {language: sample_entries(table, per_source=_SAMPLES_PER_SOURCE) for language, table in tables.items()}
    report_uri = storage.join(layout.report(f"metadata-{version}"), "index.html")
    page = metadata_page(manifest, samples, name=f"{config.metadata.name}, version {version}")
    storage.write_bytes(report_uri, page.encode())
    return BuiltMetadata(version=version, manifest=manifest, report_uri=report_uri)


def _statistics(uri: str) -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = storage.read_json(storage.join(uri, _STATISTICS))
    return content
