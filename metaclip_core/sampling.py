"""Balanced sampling: which pairs an epoch trains on, and with which of their captions.

A pair is kept with the probability of its drawn caption, 1 − ∏(1 − pᵢ) over the entries that it mentions; captions that
mention rare entries are nearly always kept, those that mention only frequent ones seldom. A row's fate depends on its
pair id, the epoch and the seed alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.balancing import entry_probabilities, pair_probabilities
from metaclip_core.draws import Purpose, uniform

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
        tables = [entry_probabilities(counts[language], t[language]) for language in self.languages]
        self._starts = np.cumsum([0, *(len(table) for table in tables)])
        self._probabilities = np.concatenate([np.empty(0), *tables])

    def of_captions(self, languages: pa.Array, entry_ids: pa.ListArray) -> Floats:
        """Probability of each caption; 0 where it mentions no entry or its language has no threshold: float64[n]."""
        table = pc.index_in(languages, pa.array(self.languages, pa.string())).fill_null(-1).to_numpy(False)  # noqa: FBT003
        known = table >= 0
        lengths = np.where(known, pc.list_value_length(entry_ids).to_numpy(False), 0)  # noqa: FBT003
        entry_ids = entry_ids.filter(pa.array(known))
        starts = np.repeat(self._starts[table[known]], lengths[known])
        flat = entry_ids.flatten().to_numpy(zero_copy_only=False).astype(np.int64) + starts
        return pair_probabilities(self._probabilities, flat, np.concatenate([[0], np.cumsum(lengths)]))


@dataclass(frozen=True)
class Candidates:
    """The matched captions of a table of pairs, in order: one element for each.

    `row` is ascending; `index` is the caption's place among all of its pair; `probability` is that of keeping the pair
    when this caption is drawn.
    """

    row: Ints
    index: Ints
    text: pa.StringArray
    language: pa.StringArray
    probability: Floats

    @property
    def per_row(self) -> Ints:
        """For each candidate, how many candidates its row has: int64[n]."""
        _, inverse, counts = np.unique(self.row, return_inverse=True, return_counts=True)
        return np.asarray(counts[inverse], np.int64)


def candidates(annotated: pa.Table, tables: ProbabilityTables) -> Candidates:
    """The captions that a draw chooses from: those that mention an entry of a language with a threshold."""
    captions = annotated["captions"].combine_chunks()
    flat = pc.list_flatten(captions)
    rows = pc.list_parent_indices(captions).to_numpy().astype(np.int64)
    probability = tables.of_captions(flat.field("language"), flat.field("entry_ids"))
    matched = probability > 0
    mask = pa.array(matched)
    return Candidates(
        row=rows[matched],
        index=(np.arange(len(rows)) - np.searchsorted(rows, rows))[matched],
        text=flat.field("text").filter(mask),
        language=flat.field("language").filter(mask),
        probability=probability[matched],
    )


@dataclass(frozen=True)
class Choices:
    """What an epoch decides about the matched rows of a table, ascending: the caption drawn, and whether it is kept."""

    row: Ints
    caption_index: Ints  # among all captions of the pair
    caption: pa.StringArray
    language: pa.StringArray
    probability: Floats
    kept: npt.NDArray[np.bool_]


def choose(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> Choices:
    """One epoch's decisions about a table of ANNOTATED: a caption for each matched pair, then keep it or not."""
    found = candidates(annotated, tables)
    rows, first, num_choices = np.unique(found.row, return_index=True, return_counts=True)
    pair_ids = annotated["pair_id"].take(pa.array(rows))
    which = uniform(pair_ids, purpose=Purpose.CAPTION, epoch=epoch, seed=seed) * num_choices
    chosen = first + which.astype(np.int64)
    probability = found.probability[chosen]
    return Choices(
        row=rows,
        caption_index=found.index[chosen],
        caption=found.text.take(pa.array(chosen)),
        language=found.language.take(pa.array(chosen)),
        probability=probability,
        kept=uniform(pair_ids, purpose=Purpose.KEEP, epoch=epoch, seed=seed) < probability,
    )


@dataclass(frozen=True)
class Draw:
    """The kept rows of a table, ascending, each with its drawn caption and its place among all of the pair."""

    row: Ints
    caption_index: Ints
    caption: pa.StringArray
    language: pa.StringArray


def draw(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> Draw:
    """One epoch's sample of a table of ANNOTATED: the rows that are kept."""
    choices = choose(annotated, tables, epoch=epoch, seed=seed)
    kept = pa.array(choices.kept)
    return Draw(
        row=choices.row[choices.kept],
        caption_index=choices.caption_index[choices.kept],
        caption=choices.caption.filter(kept),
        language=choices.language.filter(kept),
    )


def expected_kept(annotated: pa.Table, tables: ProbabilityTables) -> dict[str, float]:
    """Pairs that one epoch keeps on average, by the language of the drawn caption."""
    choices = candidates(annotated, tables)
    encoded = choices.language.dictionary_encode()
    shares = np.bincount(
        encoded.indices.to_numpy(), weights=choices.probability / choices.per_row, minlength=len(encoded.dictionary)
    )
    return dict(zip(encoded.dictionary.to_pylist(), shares.tolist(), strict=True))
