"""One page that shows what metadata hold: entries by language and source, samples, where they come from.

Entries, file names and licences come from the web or from files of others: the template escapes all of them. The page
stands alone: no script, no outside asset, no date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from metaclip_core.languages import OTHER
from metaclip_core.metadata.merge import MergeDrop
from metaclip_core.metadata.store import Manifest
from pipelines.pages import template, without_secrets

_SHOWN_BY_THEMSELVES = ("files", "merged", "missing", "num_words", "funnel")  # keys of `provenance.provenance`
_NUM_COLOURS = 6  # of the template


@dataclass(frozen=True)
class _Bar:
    """What a source gave a language."""

    source: str
    entries: int
    width: float  # percent of the longest bar
    cap_reached: bool


@dataclass(frozen=True)
class _Language:
    name: str
    entries: int
    num_words: int | None  # of its Wikipedias; `other` has many, each with a number of its own
    bars: list[_Bar]
    samples: Mapping[str, list[str]]


def metadata_page(manifest: Manifest, samples: Mapping[str, Mapping[str, list[str]]], *, name: str) -> str:
    """The page as HTML. The same input gives the same text.

    Args:
        manifest: of a metadata folder; one that was not made by `merge` has fewer sections.
        samples: language → source → entries to show, as from `browse.sample_entries`; languages may be missing.
        name: what the metadata are called, and their version.
    """
    provenance = manifest.provenance
    merged = provenance.get("merged", {})
    sources = _sources(manifest, merged)
    num_words = provenance.get("num_words", {})
    languages = _languages(manifest, sources, merged, num_words, samples)
    offers = _offers(sources, merged.values())
    rest = {key: value for key, value in provenance.items() if key not in _SHOWN_BY_THEMSELVES}
    return template("metadata.html").render(
        name=name,
        sources=sources,
        num_colours=_NUM_COLOURS,
        languages=languages,
        other=OTHER,
        num_entries=sum(manifest.num_entries.values()),
        has_words=bool(num_words),
        offers=offers,
        reasons=[str(reason) for reason in MergeDrop if any(line.dropped[reason] for line in offers)],
        funnel=provenance.get("funnel"),
        files=provenance.get("files", []),
        missing=provenance.get("missing"),
        settings=yaml.safe_dump(without_secrets(rest), sort_keys=False, allow_unicode=True, width=1000),
    )


def _sources(manifest: Manifest, merged: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """All sources: in the order in which they win, where it is known, and then as languages have them."""
    by_language = [*merged.values(), *manifest.sources.values()]
    return list(dict.fromkeys(source for by_source in by_language for source in by_source))


def _languages(
    manifest: Manifest,
    sources: list[str],
    merged: Mapping[str, Mapping[str, Any]],
    num_words: Mapping[str, int],
    samples: Mapping[str, Mapping[str, list[str]]],
) -> list[_Language]:
    """Languages, most entries first."""
    longest = max(manifest.num_entries.values(), default=0) or 1
    return [
        _Language(
            name=language,
            entries=entries,
            num_words=None if language == OTHER else num_words.get(language),
            bars=[
                _Bar(
                    source=source,
                    entries=manifest.sources[language].get(source, 0),
                    width=100 * manifest.sources[language].get(source, 0) / longest,
                    cap_reached=_cap_reached(merged, language, source),
                )
                for source in sources
            ],
            samples=samples.get(language, {}),
        )
        for language, entries in sorted(manifest.num_entries.items(), key=lambda item: (-item[1], item[0]))
    ]


def _cap_reached(merged: Mapping[str, Mapping[str, Any]], language: str, source: str) -> bool:
    return MergeDrop.BEYOND_CAP in merged.get(language, {}).get(source, {}).get("dropped", {})


@dataclass(frozen=True)
class _SourceOffer:
    source: str
    offered: int
    dropped: Counter[str]
    kept: int


def _offers(sources: list[str], merged: Iterable[Mapping[str, Any]]) -> list[_SourceOffer]:
    """What became of each source, languages added up."""
    offered: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {}
    for by_source in merged:
        for source, statistics in by_source.items():
            offered[source] += statistics["offered"]
            kept[source] += statistics["kept"]
            dropped.setdefault(source, Counter()).update(statistics["dropped"])
    return [
        _SourceOffer(source, offered[source], dropped[source], kept[source]) for source in sources if source in dropped
    ]
