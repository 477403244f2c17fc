"""The entries of a language: what each source has for it is added up and merged.

They lie in a folder whose name is a hash of the language's own counts and lemmas, of all page views, for their files
have all languages, and of the limits. So the dump of one language leaves the entries of all others as they are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import accumulate
from typing import Any

import pyarrow as pa
import ray
from pyarrow import fs

from metaclip_core.metadata.importing import NUMBERS
from metaclip_core.metadata.merge import Colons, Combine, MergedSource, SourceLimits, merge
from metaclip_core.metadata.ngrams import bigram_entries, totals, unigram_entries
from metaclip_core.metadata.store import OFFERED
from metaclip_core.metadata.totals import total_views
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.metadata import BuildConfig, MetadataSource
from pipelines.metadata_counts import Counted, CountKind

REVISION = 2
_ENTRIES, _STATISTICS = "entries.parquet", "statistics.json"
_NOT_HASHED: dict[
    str, bool | set[str]
] = {  # what changes no entry, or enters by the versions of what was counted and read
    "languages": True,
    "required": True,
    "memory_mb": True,
    "wordnet": True,
    "wikipedia": {"uri", "slice_mb", "max_page_bytes", "max_distinct"},
    "titles": {"uri", "max_rows"},
}


@dataclass(frozen=True, kw_only=True)
class MergeItem:
    """A language to merge; one row of the data set."""

    language: str
    uri: str  # of the folder with its entries
    wordnet_uri: str | None  # of its lemmas
    ngram_uris: list[str]  # of its runs


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


def merge_item(config: RunConfig, language: str, counted: Sequence[Counted], wordnet_uri: str | None) -> MergeItem:
    """The item of a language.

    Args:
        config: has the root and the limits.
        language: a metadata language.
        counted: all counts, those of other languages too.
        wordnet_uri: of its lemmas.
    """
    own = [one for one in counted if one.item.kind is CountKind.NGRAMS and one.item.language == language]
    views = [one for one in counted if one.item.kind is CountKind.VIEWS]
    layout = storage.Layout(config.root)
    made_from = [*(one.item.uri for one in [*own, *views]), *([wordnet_uri] if wordnet_uri else [])]
    version = storage.version_of(
        "metadata_language",
        REVISION,
        language=language,
        build=config.metadata.build.model_dump(mode="json", exclude=_NOT_HASHED),
        made_from=sorted(uri.removeprefix(layout.metadata_counts("")) for uri in made_from),
    )
    return MergeItem(
        language=language,
        uri=layout.metadata_counts(version),
        wordnet_uri=wordnet_uri,
        ngram_uris=[uri for one in own for uri in one.run_uris],
    )


def apply_merge(items: list[MergeItem], counted: Sequence[Counted], config: RunConfig) -> ray.data.Dataset:
    """Items → their URIs, merged. Lazy."""
    blocks = min(len(items), config.compute.shard_blocks)
    view_uris = [uri for one in counted if one.item.kind is CountKind.VIEWS for uri in one.run_uris]
    return ray.data.from_items([asdict(item) for item in items], override_num_blocks=blocks).map_batches(
        partial(merge_batch, view_uris=view_uris, build=config.metadata.build),
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
    )


def merge_batch(items: pa.Table, *, view_uris: list[str], build: BuildConfig) -> pa.Table:
    """Make the entries of each language of a table, and publish them."""
    for row in items.to_pylist():
        item = MergeItem(**row)
        merged = merge(_offers(item, view_uris, build), limits(build))
        storage.write_table(storage.join(item.uri, _ENTRIES), merged.table)
        statistics = {source: asdict(one) for source, one in merged.sources.items()}
        storage.write_json(storage.join(item.uri, _STATISTICS), statistics)
    return items.select(["uri"])


def unmerged(items: list[MergeItem]) -> list[MergeItem]:
    """Those without published entries."""
    return [item for item in items if not storage.exists(storage.join(item.uri, _STATISTICS))]


def read_merged(item: MergeItem) -> tuple[pa.Table, dict[str, MergedSource]]:
    """The entries of a language, and how they came about. Raises FileNotFoundError."""
    statistics = storage.read_json(storage.join(item.uri, _STATISTICS))
    table = storage.read_table(storage.join(item.uri, _ENTRIES))
    return table, {source: MergedSource(**one) for source, one in statistics.items()}


def _offers(item: MergeItem, view_uris: list[str], build: BuildConfig) -> dict[str, list[pa.Table]]:
    """What each source has for a language, the best first, enough for its cap."""
    offers: dict[str, list[pa.Table]] = {}
    if item.wordnet_uri is not None:
        offers[MetadataSource.WORDNET] = [storage.read_table(item.wordnet_uri)]
    if item.ngram_uris:
        num_lemmas = sum(table.num_rows for tables in offers.values() for table in tables)
        offers |= _ngram_offers(item, build, num_lemmas=num_lemmas)
    if view_uris:
        filesystem, runs = _resolved(view_uris)
        with tempfile.TemporaryDirectory(prefix="metaclip-") as scratch:
            titles = total_views(
                filesystem,
                runs,
                language=item.language,
                min_views=build.titles.min_views,
                scratch=scratch,
                memory_bytes=build.memory_mb << 20,
            )
        offers[MetadataSource.TITLE] = [titles]
    return offers


def _ngram_offers(item: MergeItem, build: BuildConfig, *, num_lemmas: int) -> dict[str, list[pa.Table]]:
    """Unigrams and bigrams: as many as the cap asks for if all entries of earlier sources were among them."""
    wikipedia = build.wikipedia
    most = {
        MetadataSource.NUMBER: len(NUMBERS),
        MetadataSource.WORDNET: num_lemmas,
        MetadataSource.UNIGRAM: wikipedia.unigram_cap,
        MetadataSource.BIGRAM: wikipedia.bigram_cap,
        MetadataSource.TITLE: build.titles.cap,
    }
    enough = dict(zip(build.order, accumulate(most[source] for source in build.order), strict=True))
    filesystem, runs = _resolved(item.ngram_uris)
    offers = {}
    with (
        tempfile.TemporaryDirectory(prefix="metaclip-") as scratch,
        totals(filesystem, runs, scratch=scratch, memory_bytes=build.memory_mb << 20) as summed,
    ):
        if MetadataSource.UNIGRAM in enough:
            offers[MetadataSource.UNIGRAM] = unigram_entries(
                summed,
                top_share=wikipedia.unigram_share,
                max_entries=enough[MetadataSource.UNIGRAM],
                min_count=wikipedia.unigram_min_count,
            )
        if MetadataSource.BIGRAM in enough:
            offers[MetadataSource.BIGRAM] = bigram_entries(
                summed,
                item.language,
                ranking=wikipedia.bigram_ranking,
                pmi_min=wikipedia.bigram_pmi_min,
                max_entries=enough[MetadataSource.BIGRAM],
                min_count=wikipedia.bigram_min_count,
            )
    return {source: [table.select(OFFERED.names)] for source, table in offers.items()}


def _resolved(uris: list[str]) -> tuple[fs.FileSystem, list[str]]:
    """The file system of URIs under one root, and their paths."""
    filesystem, _ = storage.resolve(uris[0])
    return filesystem, [storage.resolve(uri)[1] for uri in uris]
