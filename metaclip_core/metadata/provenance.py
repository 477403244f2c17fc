"""Where metadata come from: the files that were read, under which licences, and what was asked for and is missing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.merge import MergedSource


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file that entries were read from."""

    source: str  # wordnet, title, …
    name: str  # relative to the folder that was given
    num_bytes: int
    digest: str  # `sha256:…`, or what else pins its bytes
    licences: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()  # metadata languages that it gave entries to


def provenance(
    *,
    files: Iterable[SourceFile],
    merged: Mapping[str, Mapping[str, MergedSource]],
    missing: Iterable[str],
    num_words: Mapping[str, int],
    funnel: Funnel,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """The provenance of a manifest (`store.write_metadata`), as JSON for people and for the page of `pipelines`.

    Args:
        files: that were read; listed by source and name.
        merged: language → source → what `merge` made of it.
        missing: optional sources, or languages of them, that were not there, in words.
        num_words: language → the words that its n-grams were counted in.
        funnel: of all that was read.
        settings: limits and choices, JSON.
    """
    return {
        "files": [asdict(file) for file in sorted(files, key=lambda file: (file.source, file.name))],
        "merged": {
            language: {source: asdict(statistics) for source, statistics in by_source.items()}
            for language, by_source in sorted(merged.items())
        },
        "missing": sorted(missing),
        "num_words": dict(num_words),
        "funnel": funnel.to_records(),
        "settings": dict(settings),
    }
