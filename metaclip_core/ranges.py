"""A set of integers as ranges: small however many integers it holds, as long as they stand together."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt


class Ranges:
    """A set of integers as sorted, disjoint, non-touching half-open ranges."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._stops: list[int] = []

    def add(self, start: int, stop: int | None = None) -> None:
        """Add start … stop - 1, or `start` alone. Raises ValueError when one of them is in the set already."""
        stop = start + 1 if stop is None else stop
        first = bisect_left(self._stops, start)  # the first range that touches or follows
        last = first
        while last < len(self._starts) and self._starts[last] <= stop:
            if self._starts[last] < stop and start < self._stops[last]:
                raise ValueError(f"{start} … {stop - 1} overlaps what the set holds")
            last += 1
        if first < last:
            start, stop = min(start, self._starts[first]), max(stop, self._stops[last - 1])
        self._starts[first:last], self._stops[first:last] = [start], [stop]

    def covers(self, value: int) -> bool:
        """Whether `value` is in the set."""
        at = bisect_left(self._stops, value + 1)
        return at < len(self._starts) and self._starts[at] <= value

    @property
    def stop(self) -> int:
        """One past the largest integer; 0 for the empty set."""
        return self._stops[-1] if self._stops else 0

    def gaps(self, stop: int) -> npt.NDArray[np.int64]:
        """The integers of 0 … stop - 1 that are not in the set, ascending: int64[n]."""
        starts = [0, *self._stops]
        stops = [*self._starts, stop]
        pieces = [np.arange(a, min(b, stop)) for a, b in zip(starts, stops, strict=True)]
        return np.concatenate([np.empty(0, np.int64), *pieces]).astype(np.int64)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(zip(self._starts, self._stops, strict=True))
