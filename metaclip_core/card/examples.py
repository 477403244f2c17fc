"""Pairs to look at: for each language and fate the few of the sample that a hash of their id puts first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.draws import Purpose, uniform
from metaclip_core.records import DropReason
from metaclip_core.sampling import Choices

Ints = npt.NDArray[np.int64]

_SCORE_DIGITS = 4
_FATES = (None, DropReason.NOT_DRAWN, DropReason.NO_MATCH)


@dataclass(frozen=True)
class Example:
    """A pair with the caption that the epoch drew from it, or its first where none can be drawn."""

    pair_id: str
    url: str | None
    shard: int
    row: int
    image_offset: int
    image_length: int
    kind: str
    text: str
    language: str
    score: float  # of the identifier
    entry_ids: list[int]
    probability: float  # of keeping the pair for this caption
    reason: DropReason | None  # None: the epoch has it


class Examples:
    """The examples of a sample, table by table; the same however it is split into tables."""

    def __init__(self, *, per_fate: int) -> None:
        self._per_fate = per_fate
        self._held: dict[tuple[str, int], list[tuple[float, Example]]] = {}

    def add(self, sampled: pa.Table, choices: Choices) -> None:
        """Add a table of SAMPLED, and what the epoch decided about its rows."""
        captions = sampled["captions"].combine_chunks()
        starts = captions.offsets.to_numpy()[:-1] - captions.offsets[0].as_py()
        fate = np.full(sampled.num_rows, _FATES.index(DropReason.NO_MATCH))
        drawn = choices.drawn
        fate[drawn.row] = np.where(choices.keep, 0, _FATES.index(DropReason.NOT_DRAWN))
        probability = np.zeros(sampled.num_rows)
        probability[drawn.row] = drawn.probability
        place = np.zeros(sampled.num_rows, np.int64)
        place[drawn.row] = drawn.index
        flat = captions.flatten().take(pa.array(starts + place))
        order = uniform(sampled["pair_id"], purpose=Purpose.EXAMPLE, epoch=0, seed=0)
        languages = flat.field("language").dictionary_encode()
        group = languages.indices.to_numpy().astype(np.int64) * len(_FATES) + fate
        rows = _first_of_each(group, order, self._per_fate)
        pairs = sampled.drop_columns("captions").take(pa.array(rows)).to_pylist()
        shown = flat.take(pa.array(rows)).to_pylist()
        for row, pair, caption in zip(rows.tolist(), pairs, shown, strict=True):
            example = Example(
                pair_id=pair["pair_id"],
                url=pair["url"],
                shard=pair["shard"],
                row=pair["row"],
                image_offset=pair["image_offset"],
                image_length=pair["image_length"],
                kind=caption["kind"],
                text=caption["text"],
                language=caption["language"],
                score=round(caption["language_score"], _SCORE_DIGITS),
                entry_ids=caption["entry_ids"],
                probability=float(probability[row]),
                reason=_FATES[fate[row]],
            )
            self._hold((example.language, int(fate[row])), (float(order[row]), example))

    def _hold(self, group: tuple[str, int], item: tuple[float, Example]) -> None:
        held = self._held.setdefault(group, [])
        held.append(item)
        held.sort(key=lambda item: (item[0], item[1].pair_id))
        del held[self._per_fate :]

    def by_language(self) -> dict[str, list[Example]]:
        """The examples of each language: those that the epoch has, then those that it has not, then without a match."""
        found: dict[str, list[Example]] = {}
        for (language, _), held in sorted(self._held.items(), key=lambda item: item[0]):
            found.setdefault(language, []).extend(example for _, example in held)
        return found


def _first_of_each(group: Ints, order: npt.NDArray[np.float64], limit: int) -> Ints:
    """The rows of each group that come first, at most `limit`, in any order."""
    rows = np.lexsort((order, group))
    starts = np.flatnonzero(np.diff(group[rows], prepend=-1))
    rank = np.arange(len(rows)) - np.repeat(starts, np.diff(np.append(starts, len(rows))))
    return rows[rank < limit]
