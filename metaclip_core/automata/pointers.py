"""The automaton of pyahocorasick: nodes with pointers. It can be stored by pickling alone, so it is built anew."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Self

import ahocorasick
import numpy as np

from metaclip_core.automata.base import Found, found_in_parts, line_ends


class Pointers:
    """See `Automaton`."""

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
        return found_in_parts(texts, self._find)

    def _find(self, texts: Sequence[str]) -> Found:
        flat = np.fromiter(chain.from_iterable(self._automaton.iter("\n".join(texts))), np.int64)
        ends, ids = flat.reshape(-1, 2).T
        return Found.by_text(len(texts), line_ends=line_ends(texts), positions=ends, ids=ids)
