"""The entry lists, and what they are made from."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from metaclip_core.metadata.importing import MAX_ENTRY_CHARS
from metaclip_core.metadata.ranking import BigramRanking
from metaclip_core.metadata.wordnet import WordNetWords
from pipelines.config.base import Count, Section, Share


class MetadataSource(StrEnum):
    """Where entries come from. Earlier ones win, in the order of the recipe."""

    NUMBER = "number"  # 0 to 99
    WORDNET = "wordnet"
    UNIGRAM = "unigram"
    BIGRAM = "bigram"
    TITLE = "title"


class WordNetConfig(Section):
    """Princeton's dictionary and Open Multilingual WordNets."""

    uri: str | None = None  # a folder; relative to the root
    words: WordNetWords = WordNetWords.LEMMAS


class WikipediaConfig(Section):
    """Words and bigrams of Wikipedias. A top share is of all different words; a cap, of what the source adds."""

    uri: str | None = None  # a folder of dumps or extracted text; relative to the root
    slice_mb: Count = 64  # of a multistream dump, read by one task
    max_page_bytes: Count = 8 << 20
    max_distinct: Count = 2_000_000  # words and bigrams counted at once in a task, some 200 bytes each
    unigram_share: Share = 0.1
    unigram_min_count: Count = 1
    unigram_cap: Count = 251_465
    bigram_ranking: BigramRanking = BigramRanking.WEIGHTED
    bigram_pmi_min: float = 30.0  # bits, for the ranking by PMI; no more than log2 of a Wikipedia's words is possible
    bigram_min_count: Count = 5
    bigram_cap: Count = 100_646


class TitlesConfig(Section):
    """Titles of Wikipedias by page views."""

    uri: str | None = None  # a folder of hourly files; relative to the root
    max_rows: Count = 1_000_000  # counted at once in a task
    min_views: Count = 1
    share: Share = 0.76
    cap: Count = 61_235


class BuildConfig(Section):
    """What `metaclip metadata build` makes entries of."""

    languages: list[str] | None = None  # metadata languages; None: all that a source has
    # The first source of an entry wins; one left out is not used.
    order: list[MetadataSource] = Field(default_factory=lambda: list(MetadataSource))
    required: list[MetadataSource] = Field(default_factory=list)  # without these it is an error
    wordnet: WordNetConfig = WordNetConfig()
    wikipedia: WikipediaConfig = WikipediaConfig()
    titles: TitlesConfig = TitlesConfig()
    max_entry_chars: Count = MAX_ENTRY_CHARS
    memory_mb: Count = 1_024  # for adding up the counts of a language; the rest goes to disk

    @model_validator(mode="after")
    def _requires_what_it_uses(self) -> Self:
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names a source twice")
        if missing := sorted(set(self.required) - set(self.order)):
            raise ValueError(f"required sources are not in order: {', '.join(missing)}")
        return self


class MetadataConfig(Section):
    """The entry lists that captions are matched with."""

    name: str = "metadata"
    version: str | None = None  # None: what the name stands for now
    languages: Annotated[list[str] | None, Field(min_length=1)] = None  # lists that are used; None: all
    merged: bool = False  # into one list, for captions of any language
    build: BuildConfig = BuildConfig()
