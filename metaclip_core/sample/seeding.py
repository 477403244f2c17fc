"""Randomness of the sample: one generator for each purpose and index, so that no sample depends on another."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """What a generator is for. Not zero: NumPy's seed sequence does not tell trailing zeros from none."""

    SPLIT = 1
    FURNITURE = 2
    IMAGE = 3
    TEXT = 4
    RECAPTION = 5
    EVALUATION = 6


def generator(seed: int, purpose: Purpose, index: int = 0) -> np.random.Generator:
    """The generator of (`seed`, `purpose`, `index`), alike on every machine."""
    return np.random.default_rng((purpose, seed, index + 1))


def zipf_shares(num: int, *, exponent: float) -> NDArray[np.float64]:
    """`num` shares that fall with rank ** -`exponent` and sum to 1."""
    weights = np.arange(1, num + 1, dtype=np.float64) ** -exponent
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def pick(rng: np.random.Generator, shares: NDArray[np.float64]) -> int:
    """An index drawn by `shares`, which sum to 1. Takes one number from `rng`."""
    return min(int(np.searchsorted(np.cumsum(shares), rng.random(), side="right")), len(shares) - 1)
