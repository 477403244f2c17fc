"""The automaton of daachorse (the extra `fast`): a double array, a third of pyahocorasick's size.

Other threads run while it searches. Its serial form loads in milliseconds, and is checked on loading.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from metaclip_core.automata.base import Arrays, Found, found_in_parts, line_ends

try:
    import daachorse
except ModuleNotFoundError:  # an extra
    daachorse = None  # type: ignore[assignment]

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTES_PER_CHAR = 1.4  # above, an automaton of characters is smaller than one of bytes
_BYTES, _CHARS = "of_bytes", "of_chars"


class DoubleArray:
    """See `StoredAutomaton`. Of characters, or of UTF-8's bytes where these are the smaller."""

    def __init__(self, kind: str, serialised: bytes) -> None:
        """What `serialize` of the library gave, for one of its two kinds.

        Raises:
            ValueError: it is damaged.
            ModuleNotFoundError: the extra is not installed.
        """
        self._kind = kind
        self._automaton = _class_of(kind).deserialize(serialised)
        self.num_bytes = len(serialised)

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """See `Automaton`.

        Raises:
            ModuleNotFoundError: the extra is not installed.
        """
        encoded = [_encoded(pattern) for pattern in patterns]
        is_wide = sum(map(len, encoded)) > _BYTES_PER_CHAR * sum(map(len, patterns))
        kind = _CHARS if is_wide and not any(map(_SURROGATE.search, patterns)) else _BYTES
        automaton = _class_of(kind)(list(patterns) if kind == _CHARS else encoded, use_prefilter=False)
        return cls(kind, automaton.serialize())

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `StoredAutomaton`."""
        kind = _CHARS if _CHARS in arrays else _BYTES
        if kind not in arrays:
            raise ValueError("no serialised automaton")
        return cls(kind, arrays[kind].tobytes())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """See `StoredAutomaton`."""
        return {self._kind: np.frombuffer(self._automaton.serialize(), np.uint8)}

    def find(self, texts: Sequence[str]) -> Found:
        """See `Automaton`."""
        return found_in_parts(texts, self._find_chars if self._kind == _CHARS else self._find_bytes)

    def _find_bytes(self, texts: Sequence[str]) -> Found:
        joined = _encoded("\n".join(texts))
        breaks = np.flatnonzero(np.frombuffer(joined, np.uint8) == ord("\n"))
        return _found(len(texts), breaks, self._automaton.find_overlapping(joined))

    def _find_chars(self, texts: Sequence[str]) -> Found:
        joined = "\n".join(texts)
        try:
            matches = self._automaton.find_overlapping(joined)
        except UnicodeEncodeError:  # lone surrogates are in no pattern: let a mark stand for them that is in none
            matches = self._automaton.find_overlapping(_SURROGATE.sub("\r", joined))
        return _found(len(texts), line_ends(texts), matches)


def _class_of(kind: str) -> Any:  # noqa: ANN401 - one of two classes of an extra
    if daachorse is None:
        raise ModuleNotFoundError("the engine daachorse is not installed: pip install '.[fast]' in the checkout")
    return daachorse.CharwiseDoubleArrayAhoCorasick if kind == _CHARS else daachorse.DoubleArrayAhoCorasick


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _found(num_texts: int, ends: NDArray[np.int64], matches: list[tuple[int, int, int]]) -> Found:
    flat = np.fromiter(chain.from_iterable(matches), np.int64, count=3 * len(matches))
    starts, _, ids = flat.reshape(-1, 3).T
    return Found.by_text(num_texts, line_ends=ends, positions=starts, ids=ids)
