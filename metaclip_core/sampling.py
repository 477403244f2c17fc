"""Balanced sampling: which pairs an epoch trains on, and with which of their captions.

A pair is kept with the probability of its drawn caption, 1 − ∏(1 − pᵢ) over the entries that it mentions; captions that
mention rare entries are nearly always kept, those that mention only frequent ones seldom. A row's fate depends on its
pair id, the epoch and the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.balancing import entry_probabilities, pair_probabilities
from metaclip_core.draws import Purpose, id_numbers, uniform_of_numbers

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class ProbabilityTables:
    """Entry probabilities of all languages of one curation.

    Args:
        counts: language → matches of each entry, int64[n].
        t: language → threshold; a language without one keeps nothing.
    """

    def __init__(self, counts: Mapping[str, npt.NDArray[np.int64]], t: Mapping[str, int]) -> None:
        self.languages = sorted(set(counts) & set(t))
        self._starts = np.cumsum([0, *(len(counts[language]) for language in self.languages)])
        self._probabilities = np.empty(self._starts[-1])
        for language, (start, stop) in zip(self.languages, pairwise(self._starts), strict=True):
            self._probabilities[start:stop] = entry_probabilities(counts[language], t[language])

    def of_captions(self, languages: pa.Array, entry_ids: pa.ListArray) -> Floats:
        """Probability of each caption; 0 where it mentions no entry or its language has no threshold: float64[n]."""
        table = pc.index_in(languages, pa.array(self.languages, pa.string())).fill_null(-1).to_numpy()
        offsets = entry_ids.offsets.to_numpy()
        known = table >= 0
        if not known.all() and np.diff(offsets)[~known].any():  # entries of a language without a threshold
            entry_ids = pc.if_else(pa.array(known), entry_ids, pa.scalar([], entry_ids.type))
            offsets = entry_ids.offsets.to_numpy()
        return pair_probabilities(self._probabilities, entry_ids.values, offsets, starts=self._starts[table])


@dataclass(frozen=True)
class Candidates:
    """The matched captions of a table of pairs, in order: one element for each.

    `row` is ascending; `index` is the caption's place among all of its pair; `probability` is that of keeping the pair
    when this caption is drawn.
    """

    captions: pa.StructArray  # all of the table
    place: Ints  # of the matched ones
    row: Ints
    index: Ints
    probability: Floats

    @property
    def text(self) -> pa.StringArray:
        """Of each candidate."""
        return self.captions.field("text").take(pa.array(self.place))

    @property
    def language(self) -> pa.StringArray:
        """Of each candidate."""
        return self.captions.field("language").take(pa.array(self.place))

    @cached_property
    def first(self) -> Ints:
        """The first candidate of each row that has any: int64[rows]."""
        return np.flatnonzero(np.concatenate([[True], self.row[1:] != self.row[:-1]])[: len(self.row)])

    @cached_property
    def per_row(self) -> Ints:
        """How many candidates each row has, of those that have any: int64[rows]."""
        return np.diff(self.first, append=len(self.row))

    @property
    def chance(self) -> Floats:
        """That the row is kept, and with this candidate: float64[n]."""
        return self.probability / np.repeat(self.per_row, self.per_row)

    def take(self, chosen: Ints) -> Candidates:
        """Some of the candidates."""
        return Candidates(
            self.captions, self.place[chosen], self.row[chosen], self.index[chosen], self.probability[chosen]
        )


def candidates(annotated: pa.Table, tables: ProbabilityTables) -> Candidates:
    """The captions that a draw chooses from: those that mention an entry of a language with a threshold."""
    chunks = annotated["captions"].chunks
    captions = chunks[0] if len(chunks) == 1 else annotated["captions"].combine_chunks()
    flat = pc.list_flatten(captions)
    probability = tables.of_captions(flat.field("language"), flat.field("entry_ids"))
    matched = np.flatnonzero(probability > 0)
    rows = pc.list_parent_indices(captions).to_numpy()[matched]
    starts = captions.offsets.to_numpy()
    return Candidates(flat, matched, rows, matched - (starts[rows] - starts[0]), probability[matched])


@dataclass(frozen=True)
class Choices:
    """What an epoch decides about the matched rows of a table: the caption drawn from each, and whether it is kept."""

    found: Candidates  # of all matched rows
    chosen: Ints  # among these, one for each matched row
    keep: npt.NDArray[np.bool_]

    @property
    def drawn(self) -> Candidates:
        """The captions drawn, of rows that are kept and of others."""
        return self.found.take(self.chosen)

    @property
    def kept(self) -> Candidates:
        """The captions drawn, of rows that are kept."""
        return self.found.take(self.chosen[self.keep])


def choose(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> Choices:
    """One epoch's decisions about a table of ANNOTATED: a caption for each matched pair, then keep it or not."""
    found = candidates(annotated, tables)
    numbers = id_numbers(annotated["pair_id"]).take(found.row[found.first])
    which = uniform_of_numbers(numbers, purpose=Purpose.CAPTION, epoch=epoch, seed=seed) * found.per_row
    chosen = found.first + which.astype(np.int64)
    keep = uniform_of_numbers(numbers, purpose=Purpose.KEEP, epoch=epoch, seed=seed) < found.probability[chosen]
    return Choices(found, chosen, keep)


@dataclass(frozen=True)
class Draw:
    """The kept rows of a table, ascending, each with its drawn caption and that one's place among the pair's."""

    row: Ints
    caption_index: Ints
    caption: pa.StringArray
    language: pa.StringArray


def draw(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> Draw:
    """One epoch's sample of a table of ANNOTATED: the rows that are kept."""
    kept = choose(annotated, tables, epoch=epoch, seed=seed).kept
    return Draw(kept.row, kept.index, kept.text, kept.language)


def expected_kept(annotated: pa.Table, tables: ProbabilityTables) -> dict[str, float]:
    """Pairs that one epoch keeps on average, by the language of the drawn caption."""
    choices = candidates(annotated, tables)
    encoded = choices.language.dictionary_encode()
    shares = np.bincount(encoded.indices.to_numpy(), weights=choices.chance, minlength=len(encoded.dictionary))
    return dict(zip(encoded.dictionary.to_pylist(), shares.tolist(), strict=True))
