"""A trie of hashes: finds patterns in texts as an automaton does, in arrays that are sorted, mapped and shared.

A text is cut into **atoms**: before each blank, so that ` new york ` is ` new`, ` york`, ` `, and around each character
that some pattern begins or ends with where it has no blank there, which are those of scripts written without spaces. So
every pattern begins and ends at cuts, and has the same atoms wherever it occurs. A search starts at all cuts of many
texts at once, and goes on, atom by atom, where what it has read so far begins a pattern.

What was read is represented by 64 bits of a polynomial over its characters, which costs the same for every span. 27
million entries against 10^12 different spans, all of the web, make a false match with a chance of about one in a
million: 2^-64 for each pair of a span and one of its language's 10^5 entries.

A pattern takes about 14 bytes. There is nothing to build on loading: the arrays are used where they lie on disk, so that
all processes of a machine share one copy in the page cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
from numpy.typing import NDArray

_BLANK, _BREAK = ord(" "), ord("\n")
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64
_INVERSE = np.uint64(pow(int(_BASE), -1, 1 << 64))
_ENDS_AT_BLANK = np.uint64(0xD1B54A32D192ED03)  # tells `car ` from `car`
_NUM_CODES = 0x110000


@dataclass(frozen=True)
class HashTrie:
    """Patterns by hash. See the module."""

    keys: NDArray[np.uint64]  # [patterns], ascending
    ids: NDArray[np.int32]  # [patterns], which pattern a key is
    prefixes: NDArray[np.uint64]  # what begins a longer pattern and ends at a cut; ascending
    loose: NDArray[np.uint32]  # characters that a pattern begins or ends with; ascending
