"""A trie of hashes: an engine of our own, whose patterns are sorted arrays that all processes of a machine share.

A text is cut into **atoms**: before each blank, so that ` new york ` is ` new`, ` york`, ` `, and around each *loose*
character: one that a pattern begins or ends with without a blank there, which scripts written without spaces do. So a
pattern begins and ends at cuts, and has the same atoms wherever it occurs. A search starts at every cut of many texts
at once, and goes on, atom by atom, where what it has read begins a pattern.

What was read is known by 64 bits of a polynomial over its characters: the difference of two prefix sums, for a span of
any length. Two different spans are confused with a chance of about 2^-64: of 10^12 different spans, against the 10^5
patterns of a language, one in 200 times.

A pattern takes about 14 bytes, and nothing is built on loading: the arrays are used where they lie on disk, in the page
cache that processes share. An automaton takes 60 to 450 bytes, in every process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from metaclip_core.automata.base import Arrays, Found, found_in_parts, line_ends, sorted_unique

_BLANK, _BREAK = ord(" "), ord("\n")
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2^64
_INVERSE = pow(_BASE, -1, 1 << 64)
_BEFORE_A_BLANK = np.uint64(0xD1B54A32D192ED03)  # tells `car ` from `car`
_BUILT_PATTERNS = 50_000  # at once: bounds the memory of building


@dataclass(frozen=True)
class HashTrie:
    """See `StoredAutomaton`. Built in one pass over the patterns; the same patterns give the same arrays."""

    keys: NDArray[np.uint64]  # [patterns], ascending
    ids: NDArray[np.int32]  # [patterns], the pattern of each key
    prefixes: NDArray[np.uint64]  # hashes of what begins a longer pattern and ends at a cut; ascending
    loose: NDArray[np.uint32]  # characters; ascending

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """See `Automaton`.

        Raises:
            ValueError: two patterns have the same hash, or are the same.
        """
        ends = {pattern[end] for pattern in patterns for end in (0, -1)} - {" "}
        loose = np.array(sorted(map(ord, ends)), np.uint32)
        starts = range(0, len(patterns), _BUILT_PATTERNS)
        parts = [_hashed(patterns[start : start + _BUILT_PATTERNS], loose) for start in starts]
        keys = np.concatenate([part_keys for part_keys, _ in parts])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        if (keys[1:] == keys[:-1]).any():
            raise ValueError("two patterns have the same hash")
        prefixes = sorted_unique(np.concatenate([part_prefixes for _, part_prefixes in parts]))
        return cls(keys=keys, ids=order.astype(np.int32), prefixes=prefixes, loose=loose)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """See `StoredAutomaton`."""
        try:
            return cls(**{name: arrays[name] for name in ("keys", "ids", "prefixes", "loose")})
        except KeyError as error:
            raise ValueError(f"no array {error}") from error

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """See `StoredAutomaton`."""
        return {"keys": self.keys, "ids": self.ids, "prefixes": self.prefixes, "loose": self.loose}

    @property
    def num_bytes(self) -> int:
        """See `Automaton`. Where the arrays are mapped, processes share it, and the system may take it back."""
        return sum(array.nbytes for array in self.to_arrays().values())

    def find(self, texts: Sequence[str]) -> Found:
        """See `Automaton`."""
        return found_in_parts(texts, self._find)

    def _find(self, texts: Sequence[str]) -> Found:
        atoms = _Atoms.of(texts, self.loose)
        found = list(self._search(atoms))
        positions = np.concatenate([np.array([], np.int64), *(starts for starts, _ in found)])
        ids = np.concatenate([np.array([], np.int64), *(ids for _, ids in found)])
        return Found.by_text(len(texts), line_ends=line_ends(texts), positions=positions, ids=ids)

    def _search(self, atoms: _Atoms) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Where patterns begin, and which they are: those of one atom, of two, and so on."""
        first, num_atoms = np.flatnonzero(~atoms.is_break), 1
        while first.size:
            starts, ends = atoms.cuts[first], atoms.cuts[first + num_atoms]
            hashes = atoms.hashes(starts, ends)
            for may_end, keys in _keys(atoms, ends, hashes):
                places, is_key = _lookup(self.keys, keys[may_end])
                yield starts[may_end][is_key], self.ids[places[is_key]].astype(np.int64)
            num_atoms += 1
            begins = _lookup(self.prefixes, hashes)[1] & (first + num_atoms < len(atoms.cuts))
            first = first[begins]


@dataclass(frozen=True)
class _Atoms:
    """Texts, cut."""

    cuts: NDArray[np.int64]  # positions, ascending; the first is 0, the last the end
    is_break: NDArray[np.bool_]  # [cuts - 1], whether the atom after the cut is the end of a text
    is_blank: NDArray[np.bool_]  # [characters + 1], whether a blank stands at the position
    is_loose: NDArray[np.bool_]  # [characters + 1], whether a loose character stands before the position
    sums: NDArray[np.uint64]  # [characters + 1], of the polynomial's terms
    inverse: NDArray[np.uint64]  # [characters + 1], powers that move a span to the front

    @classmethod
    def of(cls, texts: Sequence[str], loose: NDArray[np.uint32]) -> Self:
        """Of texts joined by line breaks."""
        codes = np.frombuffer("\n".join(texts).encode("utf-32-le", "surrogatepass"), np.uint32)
        size = len(codes)
        powers, inverse = _powers(_power_of_two(size + 1))
        sums = np.zeros(size + 1, np.uint64)
        np.cumsum(_terms()[codes] * powers[:size], out=sums[1:])
        is_blank, is_loose, is_break = (np.zeros(size + 1, np.bool_) for _ in range(3))
        is_blank[:size] = codes == _BLANK
        is_loose[1:] = np.isin(codes, loose, kind="table") if loose.size else False
        is_break[:size] = codes == _BREAK
        is_cut = is_blank | is_loose | is_break
        is_cut[:-1] |= is_loose[1:]  # before a loose character
        is_cut[1:] |= is_break[:-1]  # after a break
        is_cut[[0, -1]] = True
        cuts = np.flatnonzero(is_cut)
        return cls(cuts, is_break[cuts[:-1]], is_blank, is_loose, sums, inverse[: size + 1])

    def hashes(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Of spans."""
        return (self.sums[ends] - self.sums[starts]) * self.inverse[starts]


def _hashed(patterns: Sequence[str], loose: NDArray[np.uint32]) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Keys of the patterns, in their order, and hashes of the prefixes that end at cuts within them."""
    atoms = _Atoms.of(patterns, loose)
    stops = line_ends(patterns)
    starts = np.concatenate([np.zeros(1, np.int64), stops[:-1] + 1])
    before_blank = stops - atoms.is_blank[stops - 1]  # a last blank is no atom, but a mark on the key
    hashes = _mixed(atoms.hashes(starts, before_blank))
    keys = np.where(before_blank < stops, hashes ^ _BEFORE_A_BLANK, hashes)
    pattern = np.minimum(np.searchsorted(stops, atoms.cuts), len(patterns) - 1)
    is_within = (starts[pattern] < atoms.cuts) & (atoms.cuts < before_blank[pattern])
    return keys, sorted_unique(atoms.hashes(starts[pattern[is_within]], atoms.cuts[is_within]))


def _keys(
    atoms: _Atoms, ends: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> Iterator[tuple[NDArray[np.bool_], NDArray[np.uint64]]]:
    """Which spans may be patterns that end at a blank, and at a loose character; and the keys they would have."""
    mixed = _mixed(hashes)
    yield atoms.is_blank[ends], mixed ^ _BEFORE_A_BLANK
    yield atoms.is_loose[ends], mixed


def _lookup(ascending: NDArray[np.uint64], wanted: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each wanted value would be, and whether it is there."""
    if not ascending.size:
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(ascending, wanted), len(ascending) - 1)
    return places, ascending[places] == wanted


def _mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A permutation of 64 bits in which each bit depends on all (the finaliser of MurmurHash3)."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        values = (values ^ (values >> np.uint64(33))) * np.uint64(factor)
    return values ^ (values >> np.uint64(33))


@lru_cache(maxsize=1)
def _terms() -> NDArray[np.uint64]:
    """The number that each character stands for in the polynomial: 64 random bits (9 MB for all)."""
    return _mixed(np.arange(1, 0x110001, dtype=np.uint64))


@lru_cache(maxsize=4)
def _powers(size: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers of the base and of its inverse, modulo 2^64."""
    powers, inverse = np.full(size, _BASE, np.uint64), np.full(size, _INVERSE, np.uint64)
    powers[0] = inverse[0] = 1
    return np.multiply.accumulate(powers), np.multiply.accumulate(inverse)


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
