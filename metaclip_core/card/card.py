"""The card as data: exact where counts tell, estimated from the sample of annotations where they don't.

The fields of the classes are the keys of `card.json`. What is marked as estimated rests on the sample, and stands
beside the number of its pairs or captions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from metaclip_core.balancing import entry_probabilities
from metaclip_core.card.captions import CaptionFacts, Histogram, KindFacts
from metaclip_core.card.entries import EntryFacts, entry_facts
from metaclip_core.card.examples import Example
from metaclip_core.card.survey import Survey
from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.funnel import Funnel

_ENTRIES_SHOWN = 12  # of a language, most mentioned and never mentioned
_KINDS_SHOWN = 12
_MENTIONS_SHOWN = 3  # of an example

Names = Mapping[str, Mapping[int, str]]  # language → entry id → entry


@dataclass(frozen=True)
class Mention:
    """An entry, how many captions of its language mention it, and the chance that it keeps such a pair."""

    entry: str
    matches: int
    probability: float


@dataclass(frozen=True)
class ShownExample:
    """A pair to look at; `mentions` are those of its entries that do most to keep it."""

    pair: Example
    mentions: list[Mention]


@dataclass(frozen=True)
class LanguageCard:
    """A language of the pool. Shares are of all languages' captions before, and of all pairs after balancing."""

    language: str
    captions: int
    matched: int  # captions
    t: int | None  # null: nothing matched
    expected: float  # pairs that an epoch keeps on average
    drawn: float  # pairs of the epoch, estimated
    share_captions: float
    share_expected: float
    share_drawn: float  # estimated
    entries: EntryFacts
    top: list[Mention]
    unmentioned: list[str]
    text: CaptionFacts | None  # estimated; null: the sample has none of its captions
    examples: list[ShownExample]


@dataclass(frozen=True)
class Card:
    """All that a card says of a pool, except its pictures."""

    pool: str
    epoch: int  # that `drawn` and the examples are of
    seed: int
    p: float
    pairs: int  # unique
    matched_pairs: int
    captions: int
    matched: int  # captions
    expected: float  # pairs that an epoch keeps on average
    sampled_pairs: int
    languages: list[LanguageCard]  # most captions first
    text: CaptionFacts  # of all languages, estimated
    lengths: Histogram  # of captions in characters, estimated
    kinds: list[KindFacts]  # most captions first, estimated
    num_kinds: int  # in the sample
    funnel: list[dict[str, Any]]  # as `Funnel.to_records`
    provenance: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """The card as JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class CuratedPool:
    """What a card is made from, beside the sample."""

    name: str
    counts: PoolCounts
    p: float
    t: Mapping[str, int]
    expected: Mapping[str, float]  # pairs that an epoch keeps on average, by language
    funnel: Funnel
    provenance: Mapping[str, str]


def facts_of_languages(pool: CuratedPool) -> dict[str, EntryFacts]:
    """The entries of every language that the pool has captions of, most captions first."""
    counts = pool.counts
    languages = [language for measure, language in counts.sums if measure == Measure.CAPTIONS]
    by_size = sorted(languages, key=lambda language: (-counts.total(Measure.CAPTIONS, language), language))
    without = np.zeros(0, np.int64)
    return {
        language: entry_facts(counts.matches.get(language, without), t=pool.t.get(language), num_shown=_ENTRIES_SHOWN)
        for language in by_size
    }


def wanted_names(pool: CuratedPool, facts: Mapping[str, EntryFacts], survey: Survey) -> dict[str, list[int]]:
    """The entries that the card names: ascending ids, by language."""
    wanted = {name: {*of_name.unmentioned, *(entry for entry, _ in of_name.top)} for name, of_name in facts.items()}
    for language, examples in survey.examples.items():
        for example in examples:
            wanted.setdefault(language, set()).update(_strongest(pool, example))
    return {language: sorted(ids) for language, ids in wanted.items() if ids}


def make_card(
    pool: CuratedPool, facts: Mapping[str, EntryFacts], survey: Survey, names: Names, *, epoch: int, seed: int
) -> Card:
    """The card of a pool.

    Args:
        pool: as it was curated.
        facts: of `facts_of_languages`.
        survey: of the sample, with the same epoch and seed.
        names: at least those of `wanted_names`.
        epoch: that was drawn from the sample.
        seed: likewise.
    """
    counts = pool.counts
    languages = _Languages(pool, survey, names)
    return Card(
        pool=pool.name,
        epoch=epoch,
        seed=seed,
        p=pool.p,
        pairs=counts.total(Measure.PAIRS),
        matched_pairs=counts.total(Measure.MATCHED_PAIRS),
        captions=sum(counts.total(Measure.CAPTIONS, language) for language in facts),
        matched=sum(counts.total(Measure.MATCHED_CAPTIONS, language) for language in facts),
        expected=sum(pool.expected.values()),
        sampled_pairs=survey.num_pairs,
        languages=[languages.card(language, of_language) for language, of_language in facts.items()],
        text=survey.captions.of_all(),
        lengths=survey.captions.lengths(),
        kinds=survey.captions.by_kind(limit=_KINDS_SHOWN),
        num_kinds=survey.captions.num_kinds,
        funnel=pool.funnel.to_records(),
        provenance=dict(pool.provenance),
    )


class _Languages:
    """Cards of languages; holds what all of them are measured by."""

    def __init__(self, pool: CuratedPool, survey: Survey, names: Names) -> None:
        self._pool = pool
        self._survey = survey
        self._names = names
        self._texts = survey.captions.by_language()
        captions = (count for (measure, _), count in pool.counts.sums.items() if measure == Measure.CAPTIONS)
        self._captions = sum(captions)
        self._expected = sum(pool.expected.values())
        self._drawn = sum(survey.drawn.values())

    def card(self, language: str, facts: EntryFacts) -> LanguageCard:
        pool = self._pool
        captions = pool.counts.total(Measure.CAPTIONS, language)
        expected, drawn = pool.expected.get(language, 0.0), self._survey.drawn.get(language, 0.0)
        names = self._names.get(language, {})
        return LanguageCard(
            language=language,
            captions=captions,
            matched=pool.counts.total(Measure.MATCHED_CAPTIONS, language),
            t=pool.t.get(language),
            expected=expected,
            drawn=drawn,
            share_captions=_share(captions, self._captions),
            share_expected=_share(expected, self._expected),
            share_drawn=_share(drawn, self._drawn),
            entries=facts,
            top=[self._mention(language, entry) for entry, _ in facts.top],
            unmentioned=[names[entry] for entry in facts.unmentioned],
            text=self._texts.get(language),
            examples=[
                ShownExample(pair, [self._mention(language, entry) for entry in _strongest(pool, pair)])
                for pair in self._survey.examples.get(language, [])
            ],
        )

    def _mention(self, language: str, entry: int) -> Mention:
        matches = self._pool.counts.matches[language][entry : entry + 1]
        probability = entry_probabilities(matches, self._pool.t[language])
        return Mention(self._names[language][entry], int(matches[0]), float(probability[0]))


def _strongest(pool: CuratedPool, example: Example) -> list[int]:
    """The entries of an example that do most to keep it: those with fewest matches."""
    if example.language not in pool.t:
        return []
    matches = pool.counts.matches[example.language]
    return sorted(example.entry_ids, key=lambda entry: (int(matches[entry]), entry))[:_MENTIONS_SHOWN]


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
