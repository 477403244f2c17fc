"""What every engine does, and what a search finds.

Texts are searched joined by line breaks, which no pattern holds: one call for many captions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]

_SEARCHED_CHARS = 1 << 20  # at once: bounds the memory of matches


@dataclass(frozen=True, kw_only=True)
class Found:
    """What n texts hold: text i holds `ids[offsets[i]:offsets[i + 1]]`, sorted, unique."""

    offsets: NDArray[np.int64]  # [n + 1]
    ids: NDArray[np.int32]

    @classmethod
    def none_in(cls, num_texts: int) -> Self:
        """Nothing was found."""
        return cls(offsets=np.zeros(num_texts + 1, np.int64), ids=np.array([], np.int32))

    @classmethod
    def by_text(
        cls, num_texts: int, *, line_ends: NDArray[np.int64], positions: NDArray[np.int64], ids: NDArray[np.int64]
    ) -> Self:
        """Of what was found at `positions` in joined texts that end at `line_ends`, each once in a text."""
        keys = sorted_unique(np.searchsorted(line_ends, positions) << 32 | ids)
        offsets = np.searchsorted(keys, np.arange(num_texts + 1) << 32)
        return cls(offsets=offsets, ids=(keys & 0xFFFFFFFF).astype(np.int32))


class Automaton(Protocol):
    """Finds patterns in texts. Neither holds a line feed or carriage return."""

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """An automaton of `patterns`: at least one, different from each other, none of blanks alone."""
        ...

    @property
    def num_bytes(self) -> int:
        """The memory it takes."""
        ...

    def find(self, texts: Sequence[str]) -> Found:
        """Which patterns are substrings of each text, overlaps included. May be called from several threads."""
        ...


@runtime_checkable
class StoredAutomaton(Automaton, Protocol):
    """One that can be written as arrays, and used again from there without unpickling."""

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """The automaton that `to_arrays` wrote.

        Raises:
            ValueError: the arrays are damaged.
        """
        ...

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """One-dimensional arrays by name."""
        ...


def sorted_unique(values: NDArray[Any]) -> NDArray[Any]:
    """Different values, ascending. Faster than `np.unique` where they are nearly so."""
    values = np.sort(values)
    is_first = np.ones(len(values), np.bool_)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    return values[is_first]


def line_ends(texts: Sequence[str]) -> NDArray[np.int64]:
    """Position after each of the texts when they are joined by line breaks, in characters."""
    return np.cumsum(np.fromiter((len(text) + 1 for text in texts), np.int64, count=len(texts))) - 1


def found_in_parts(texts: Sequence[str], find: Callable[[Sequence[str]], Found]) -> Found:
    """What `find` finds in all texts, some at a time."""
    found = [find(part) for part in _parts(texts)]
    counts = [np.diff(part.offsets) for part in found]
    return Found(
        offsets=np.concatenate([np.zeros(1, np.int64), *counts]).cumsum(),
        ids=np.concatenate([np.array([], np.int32), *(part.ids for part in found)]),
    )


def _parts(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start = num_chars = 0
    for end, text in enumerate(texts):
        if num_chars > _SEARCHED_CHARS:
            yield texts[start:end]
            start, num_chars = end, 0
        num_chars += len(text)
    if texts:
        yield texts[start:]
