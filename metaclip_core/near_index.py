"""Which images are near one of a list, such as those of a benchmark: the list is indexed once, by key."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from metaclip_core.neighbours import Ints, Looks, hash_distance, keys, near_in_colour, near_in_structure

_PAIRS_AT_ONCE = 1 << 18
_BY_COLOUR = 1_000  # farther than by any hash


@dataclass(frozen=True)
class Nearest:
    """Images that are near one of the index, ascending, and the nearest of it; the first one in a tie."""

    image: Ints
    row: Ints  # of the index
    distance: np.ma.MaskedArray  # in bits; masked where smooth pictures agree in their colours alone


class LookIndex:
    """Forms, sorted by each kind of key."""

    def __init__(self, looks: Looks) -> None:
        self._looks = looks
        self._sorted = []
        for values, rows in keys(looks):
            order = np.argsort(values, kind="stable")
            self._sorted.append((values[order], rows[order]))

    def nearest(self, looks: Looks, *, distance: int) -> Nearest:
        """What of `looks` is near something here. Pure; an image's answer depends on that image alone."""
        found = [np.empty((0, 3), np.int64)]
        for left, right in self._candidates(looks):
            ours, theirs = looks.take(left), self._looks.take(right)
            in_structure = near_in_structure(ours, theirs, distance=distance)
            near = in_structure | near_in_colour(ours, theirs)
            bits = np.where(in_structure, hash_distance(ours, theirs), _BY_COLOUR)
            found.append(np.stack([ours.image, bits, right], axis=1)[near])
        pairs = np.unique(np.concatenate(found), axis=0)  # sorted by image, then distance, then row
        image, first = np.unique(pairs[:, 0], return_index=True)
        bits = pairs[first, 1]
        return Nearest(image, pairs[first, 2], np.ma.masked_array(bits, bits == _BY_COLOUR))

    def _candidates(self, looks: Looks) -> Iterator[tuple[Ints, Ints]]:
        """Rows of `looks` and of the index that share a key, a bounded number at once."""
        for (values, rows), (sorted_keys, sorted_rows) in zip(keys(looks), self._sorted, strict=True):
            starts = np.searchsorted(sorted_keys, values, side="left")
            counts = np.searchsorted(sorted_keys, values, side="right") - starts
            ends = np.cumsum(counts)
            for start in range(0, int(ends[-1]) if len(ends) else 0, _PAIRS_AT_ONCE):
                pair = np.arange(start, min(start + _PAIRS_AT_ONCE, int(ends[-1])))
                query = np.searchsorted(ends, pair, side="right")
                place = starts[query] + pair - (ends[query] - counts[query])
                yield rows[query], sorted_rows[place]
