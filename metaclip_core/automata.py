"""Finding many patterns in many texts at once: two engines behind one protocol, with the same results.

`pyahocorasick` needs nothing else. `daachorse` (the extra `fast`) takes a third of the memory, lets other threads run
while it searches, and has a serial form that loads in milliseconds and is checked on loading.

Texts are searched joined by line breaks, which no pattern holds: one call for many captions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any, Protocol, Self

import ahocorasick
import numpy as np
from numpy.typing import NDArray

try:
    import daachorse
except ModuleNotFoundError:  # an extra
    daachorse = None  # type: ignore[assignment]

_SURROGATE = re.compile("[\ud800-\udfff]")
_SEARCHED_CHARS = 1 << 20  # at once: bounds the memory of matches, which are Python objects for a moment
_BYTES_PER_CHAR = 1.4  # above, an automaton of characters is smaller than one of bytes


class Engine(StrEnum):
    """A library that searches."""

    PYAHOCORASICK = "pyahocorasick"
    DAACHORSE = "daachorse"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What n texts hold: text i holds `ids[offsets[i]:offsets[i + 1]]`, sorted, unique."""

    offsets: NDArray[np.int64]  # [n + 1]
    ids: NDArray[np.int32]

    @classmethod
    def none_in(cls, num_texts: int) -> Self:
        """Nothing was found."""
        return cls(offsets=np.zeros(num_texts + 1, np.int64), ids=np.array([], np.int32))


class Automaton(Protocol):
    """Finds patterns in texts. Neither holds a line feed or carriage return."""

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """An automaton of `patterns`: at least one, different from each other, none empty."""
        ...

    @property
    def num_bytes(self) -> int:
        """The memory it takes."""
        ...

    def find(self, texts: Sequence[str]) -> Found:
        """Which patterns are substrings of each text, overlaps included. May be called from several threads."""
        ...


def automaton_of(engine: Engine, patterns: Sequence[str]) -> Automaton:
    """An automaton of `patterns`.

    Raises:
        ModuleNotFoundError: the engine is not installed.
    """
    return Daachorse.build(patterns) if engine is Engine.DAACHORSE else PyAhoCorasick.build(patterns)


class PyAhoCorasick:
    """The automaton of pyahocorasick. It can be stored by pickling alone, so it is built anew."""

    def __init__(self, automaton: ahocorasick.Automaton) -> None:
        self._automaton = automaton

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """See `Automaton`."""
        automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for index, pattern in enumerate(patterns):
            automaton.add_word(pattern, index)
        automaton.make_automaton()
        return cls(automaton)

    @property
    def num_bytes(self) -> int:
        """See `Automaton`."""
        return int(self._automaton.get_stats()["total_size"])

    def find(self, texts: Sequence[str]) -> Found:
        """See `Automaton`. Not by `iter_long`, which drops overlapping matches."""
        return _found_in_parts(texts, self._find)

    def _find(self, texts: Sequence[str]) -> Found:
        flat = np.fromiter(chain.from_iterable(self._automaton.iter("\n".join(texts))), np.int64)
        ends, patterns = flat.reshape(-1, 2).T
        return _found(len(texts), _line_ends(texts), ends, patterns)


_BYTES, _CHARS = b"b", b"c"  # kinds of its automata


class Daachorse:
    """The automaton of daachorse: of characters, or of UTF-8's bytes where these are the smaller."""

    def __init__(self, serialised: bytes) -> None:
        """Of what `serialise` gave.

        Raises:
            ValueError: it is damaged.
            ModuleNotFoundError: the extra is not installed.
        """
        self._kind, content = serialised[:1], serialised[1:]
        if self._kind not in {_BYTES, _CHARS}:
            raise ValueError("no serialised automaton")
        self._automaton = _daachorse_class(self._kind).deserialize(content)
        self.num_bytes = len(serialised)

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """See `Automaton`."""
        encoded = [_encoded(pattern) for pattern in patterns]
        is_wide = sum(map(len, encoded)) > _BYTES_PER_CHAR * sum(map(len, patterns))
        kind = _CHARS if is_wide and not any(map(_SURROGATE.search, patterns)) else _BYTES
        automaton = _daachorse_class(kind)(list(patterns) if kind == _CHARS else encoded, use_prefilter=False)
        return cls(kind + automaton.serialize())

    def serialise(self) -> bytes:
        """What makes the same automaton elsewhere, checked there."""
        return self._kind + bytes(self._automaton.serialize())

    def find(self, texts: Sequence[str]) -> Found:
        """See `Automaton`. Other threads run meanwhile."""
        return _found_in_parts(texts, self._find_chars if self._kind == _CHARS else self._find_bytes)

    def _find_bytes(self, texts: Sequence[str]) -> Found:
        joined = _encoded("\n".join(texts))
        line_ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
        return self._found(len(texts), line_ends, self._automaton.find_overlapping(joined))

    def _find_chars(self, texts: Sequence[str]) -> Found:
        joined = "\n".join(texts)
        try:
            matches = self._automaton.find_overlapping(joined)
        except UnicodeEncodeError:  # lone surrogates are in no pattern: let a mark stand for them that is in none
            matches = self._automaton.find_overlapping(_SURROGATE.sub("\r", joined))
        return self._found(len(texts), _line_ends(texts), matches)

    @staticmethod
    def _found(num_texts: int, line_ends: NDArray[np.int64], matches: list[tuple[int, int, int]]) -> Found:
        flat = np.fromiter(chain.from_iterable(matches), np.int64, count=3 * len(matches))
        starts, _, patterns = flat.reshape(-1, 3).T
        return _found(num_texts, line_ends, starts, patterns)


def _daachorse_class(kind: bytes) -> Any:  # noqa: ANN401 - one of two classes of an extra
    if daachorse is None:
        raise ModuleNotFoundError("the engine daachorse is not installed: pip install 'worldwide-clip[fast]'")
    return daachorse.CharwiseDoubleArrayAhoCorasick if kind == _CHARS else daachorse.DoubleArrayAhoCorasick


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _line_ends(texts: Sequence[str]) -> NDArray[np.int64]:
    """Position of the line break after each of the joined texts, in characters."""
    return np.cumsum(np.fromiter((len(text) + 1 for text in texts), np.int64, count=len(texts))) - 1


def _found(
    num_texts: int, line_ends: NDArray[np.int64], positions: NDArray[np.int64], patterns: NDArray[np.int64]
) -> Found:
    """Matches by their position in the joined texts → by text, each once."""
    keys = np.sort(np.searchsorted(line_ends, positions) << 32 | patterns)
    is_first = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=is_first[1:])
    keys = keys[is_first]
    return Found(
        offsets=np.searchsorted(keys, np.arange(num_texts + 1) << 32), ids=(keys & 0xFFFFFFFF).astype(np.int32)
    )


def _found_in_parts(texts: Sequence[str], find: Callable[[Sequence[str]], Found]) -> Found:
    """Of all texts, some at a time."""
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
