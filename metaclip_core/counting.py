"""Counting: how often every entry of every language is mentioned. Sums of parts add up, in any order and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.records import TALLY

Counts = npt.NDArray[np.int64]


class Measure(StrEnum):
    """What a row of TALLY sums up."""

    PAIRS = "pairs"
    MATCHED_PAIRS = "matched_pairs"  # with a caption that mentions an entry
    CAPTIONS = "captions"
    MATCHED_CAPTIONS = "matched_captions"
    MATCHES = "matches"  # by entry; an entry counts once for each caption


def tally(annotated: pa.Table) -> pa.Table:
    """The sums of a table of ANNOTATED as a table of TALLY. Pure."""
    captions = annotated["captions"].combine_chunks()
    flat = pc.list_flatten(captions)
    mentions = pc.greater(pc.list_value_length(flat.field("entry_ids")), 0)
    matched_rows = pc.list_parent_indices(captions).filter(mentions)
    rows = [
        _row(Measure.PAIRS, "", [0], [annotated.num_rows]),
        _row(Measure.MATCHED_PAIRS, "", [0], [len(pc.unique(matched_rows))]),
    ]
    languages = flat.field("language")
    for language in sorted(pc.unique(languages).to_pylist()):
        of_language = pc.equal(languages, language)
        entry_ids = flat.filter(of_language).field("entry_ids").flatten().to_numpy(zero_copy_only=False)
        distinct, counts = np.unique(entry_ids, return_counts=True)
        rows += [
            _row(Measure.CAPTIONS, language, [0], [pc.sum(of_language).as_py()]),
            _row(Measure.MATCHED_CAPTIONS, language, [0], [pc.sum(pc.and_(of_language, mentions)).as_py() or 0]),
            _row(Measure.MATCHES, language, distinct, counts),
        ]
    return pa.Table.from_pylist(rows, TALLY)


def _row(measure: Measure, language: str, entry_ids: Any, counts: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"measure": measure, "language": language, "entry_ids": entry_ids, "counts": counts}


@dataclass
class PoolCounts:
    """The sums over a pool.

    `matches` has, per language, an int64 for each entry of its metadata; the other fields are by (measure, language).
    """

    matches: dict[str, Counts]
    sums: Counter[tuple[str, str]] = field(default_factory=Counter)

    @classmethod
    def zero(cls, num_entries: Mapping[str, int]) -> PoolCounts:
        """Nothing counted yet, for metadata with so many entries in each language."""
        return cls({language: np.zeros(size, np.int64) for language, size in num_entries.items()})

    def add(self, tallied: pa.Table) -> None:
        """Add a table of TALLY."""
        for row in range(tallied.num_rows):
            measure, language = tallied["measure"][row].as_py(), tallied["language"][row].as_py()
            counts = tallied["counts"][row].values.to_numpy()
            if measure != Measure.MATCHES:
                self.sums[measure, language] += int(counts.sum())
            elif len(counts):
                # entry ids of one row are unique, so that a plain indexed addition is exact
                self.matches[language][tallied["entry_ids"][row].values.to_numpy()] += counts

    def total(self, measure: Measure, language: str = "") -> int:
        """One sum; 0 where nothing was counted."""
        return self.sums[measure, language]
