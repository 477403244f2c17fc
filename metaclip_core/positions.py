"""The order of training: position → (epoch, shard), computed and never listed.

Training walks through positions 0, 1, 2, …; every epoch visits all shards once, in an order of its own. The order is
a keyed permutation (a Feistel network with cycle walking), so that 400,000 shards × 32 epochs cost no memory, and so
that a position can be recovered from its epoch and shard.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Int64s = npt.NDArray[np.int64]
_UInt64s = npt.NDArray[np.uint64]

_NUM_ROUNDS = 6
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Positions:
    """The order in which a run visits a pool of `num_shards` shards.

    Args:
        num_shards: shards of the pinned manifest, at least 1.
        seed: the run's seed.
    """

    num_shards: int
    seed: int

    def __post_init__(self) -> None:
        if self.num_shards < 1:
            raise ValueError(f"an order needs at least one shard, got {self.num_shards}")

    def locate(self, positions: npt.ArrayLike) -> tuple[Int64s, Int64s]:
        """Epoch and shard of each position: int64[n], int64[n]."""
        positions = np.asarray(positions, dtype=np.int64)
        epochs, ordinals = np.divmod(positions, self.num_shards)
        return epochs, self._by_epoch(epochs, ordinals, inverse=False)

    def position(self, epochs: npt.ArrayLike, shards: npt.ArrayLike) -> Int64s:
        """The inverse of `locate`: int64[n].

        Raises:
            ValueError: a shard is not of this pool.
        """
        epochs, shards = np.broadcast_arrays(np.asarray(epochs, np.int64), np.asarray(shards, np.int64))
        if shards.size and (shards.min() < 0 or shards.max() >= self.num_shards):
            raise ValueError(f"shard outside 0 … {self.num_shards - 1}")
        return cast("Int64s", epochs * self.num_shards + self._by_epoch(epochs, shards, inverse=True))

    def _by_epoch(self, epochs: Int64s, values: Int64s, *, inverse: bool) -> Int64s:
        result = np.empty(values.shape, np.int64)
        for epoch in np.unique(epochs):
            at = epochs == epoch
            result[at] = self._permute(values[at], int(epoch), inverse=inverse)
        return result

    def _permute(self, values: Int64s, epoch: int, *, inverse: bool) -> Int64s:
        half_bits = max(1, ((self.num_shards - 1).bit_length() + 1) // 2)
        keys = _round_keys(self.seed, epoch)
        result = values.astype(np.uint64)
        outside = np.ones(result.shape, bool)
        while outside.any():  # cycle walking: the network permutes a power of 4, at most 4 times the pool
            result[outside] = _feistel(result[outside], keys[::-1] if inverse else keys, half_bits, inverse=inverse)
            outside = result >= self.num_shards
        return result.astype(np.int64)


def _round_keys(seed: int, epoch: int) -> _UInt64s:
    digest = hashlib.blake2b(f"positions {seed} {epoch}".encode(), digest_size=8 * _NUM_ROUNDS).digest()
    return np.frombuffer(digest, "<u8").astype(np.uint64)


def _feistel(values: _UInt64s, keys: _UInt64s, half_bits: int, *, inverse: bool) -> _UInt64s:
    shift, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> shift, values & mask
    if inverse:
        left, right = right, left
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    if inverse:
        left, right = right, left
    return (left << shift) | right


def _mix(values: _UInt64s) -> Any:  # noqa: ANN401 - NumPy's scalar shifts are untyped
    values = (values ^ (values >> np.uint64(31))) * _MULTIPLIER
    values = (values ^ (values >> np.uint64(29))) * _MULTIPLIER
    return values ^ (values >> np.uint64(32))
