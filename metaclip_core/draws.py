"""Random numbers that depend on content: a hash of (pair, purpose, epoch, seed), and no generator state anywhere.

So a pair has the same fate on one node or a thousand, in whatever block, actor, retry or restart it passes by.
`uniform` is the form for batches; `uniform_scalar` says the same in plain integers and is its oracle. What they return
is part of every run: golden values in the tests keep it from changing.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from metaclip_core.pairs import NUM_HEX_DIGITS

PairIds: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str] | NDArray[np.str_]

_VALID_ID = re.compile(f"[0-9a-f]{{{NUM_HEX_DIGITS}}}")
_BLOCK_ROWS = 8192  # temporaries of a block stay in the L2 cache

# The finaliser of splitmix64 and its increment (Steele, Lea and Flood 2014; constants by Stafford, "Mix13").
_SHIFT_1, _SHIFT_2, _SHIFT_3 = 30, 27, 31
_FACTOR_1, _FACTOR_2 = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_EPOCH_STEP = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1
_MANTISSA_SHIFT, _ULP = 11, 2.0**-53

_NUMBER = np.dtype([("high", ">u8"), ("low", ">u4")])  # of an id
_LOWER_CASE = 0x20  # a bit that digits and small letters have


class Purpose(StrEnum):
    """What a draw decides. Draws of different purposes are independent."""

    CAPTION = "caption"  # which of an image's matched captions
    KEEP = "keep"  # whether this epoch trains on the pair
    CROP = "crop"  # the augmentation's crop
    SAMPLE = "sample"  # whether the sample of annotations holds the pair
    EXAMPLE = "example"  # whether the data card shows the pair
    SEARCH = "search"  # whether `metaclip search` looks at the pair
    HOLD_OUT = "hold_out"  # whether a run is validated on the pair, and never trained


def uniform(pair_ids: PairIds, *, purpose: str, epoch: int | ArrayLike, seed: int) -> NDArray[np.float64]:
    """One number in [0, 1) for each pair.

    Args:
        pair_ids: n ids of 24 lower-case hex digits; fastest as an Arrow string array.
        purpose: what is decided, usually a `Purpose`.
        epoch: one for all pairs, or int[n]; not negative.
        seed: of the run.

    Returns:
        float64[n], a multiple of 2**-53 each.

    Raises:
        ValueError: an id is null or not 24 lower-case hex digits (the first is named); epochs are negative or no
            integers, or there are not n of them.
    """
    return uniform_of_numbers(id_numbers(pair_ids), purpose=purpose, epoch=epoch, seed=seed)


@dataclass(frozen=True)
class IdNumbers:
    """Pair ids as numbers of 96 bits, for several draws of the same pairs."""

    high: NDArray[np.uint64]  # [n], the upper 64 bits
    low: NDArray[np.uint64]  # [n], the lower 32

    def __len__(self) -> int:
        return len(self.high)

    def take(self, rows: NDArray[np.int64]) -> IdNumbers:
        """Of some of the pairs."""
        return IdNumbers(self.high[rows], self.low[rows])


def id_numbers(pair_ids: PairIds) -> IdNumbers:
    """The ids' numbers. Raises ValueError, as `uniform`."""
    numbers = IdNumbers(np.empty(len(pair_ids), np.uint64), np.empty(len(pair_ids), np.uint64))
    for first, digits in _digits_by_chunk(pair_ids):
        parsed, rows = _parsed(digits, first=first), slice(first, first + len(digits))
        numbers.high[rows], numbers.low[rows] = parsed["high"], parsed["low"]
    return numbers


def uniform_of_numbers(pair_ids: IdNumbers, *, purpose: str, epoch: int | ArrayLike, seed: int) -> NDArray[np.float64]:
    """`uniform`, of ids that were read before."""
    epochs = _checked_epochs(epoch, num_pairs=len(pair_ids))
    keys = _keys(purpose, seed)
    draws = np.empty(len(pair_ids))
    for first in range(0, len(pair_ids), _BLOCK_ROWS):
        rows = slice(first, first + _BLOCK_ROWS)
        of_rows = epochs if epochs.ndim == 0 else epochs[rows]
        draws[rows] = _mixed_draws(pair_ids.high[rows], pair_ids.low[rows], of_rows, keys=keys)
    return draws


def uniform_scalar(pair_id: str, *, purpose: str, epoch: int, seed: int) -> float:
    """`uniform` of a single pair, in plain integers: the same to the last bit."""
    if not _VALID_ID.fullmatch(pair_id):
        raise _invalid_id(0, pair_id)
    if not 0 <= epoch < 2**63:
        raise ValueError(f"epochs must be integers of at least 0, got {epoch}")
    number = int(pair_id, 16)
    key_1, key_2 = _keys(purpose, seed)
    state = _mix_scalar((number >> 32) ^ key_1)
    state = _mix_scalar((state + key_2 & _MASK) ^ (number & 0xFFFFFFFF))
    state = _mix_scalar(state + epoch * _EPOCH_STEP & _MASK)
    return (state >> _MANTISSA_SHIFT) * _ULP


def _keys(purpose: str, seed: int) -> tuple[int, int]:
    digest = hashlib.blake2b(f"{purpose}\0{seed}".encode(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big"), int.from_bytes(digest[8:], "big")


def _mix_scalar(state: int) -> int:
    state = (state ^ (state >> _SHIFT_1)) * _FACTOR_1 & _MASK
    state = (state ^ (state >> _SHIFT_2)) * _FACTOR_2 & _MASK
    return state ^ (state >> _SHIFT_3)


def _mixed_draws(
    high: NDArray[np.uint64], low: NDArray[np.uint64], epochs: NDArray[np.uint64], *, keys: tuple[int, int]
) -> NDArray[np.float64]:
    """The vector twin of `uniform_scalar`'s last lines."""
    key_1, key_2 = (np.uint64(key) for key in keys)
    state = high ^ key_1
    _mix(state)
    state += key_2
    state ^= low
    _mix(state)
    state += epochs * np.uint64(_EPOCH_STEP)
    _mix(state)
    state >>= np.uint64(_MANTISSA_SHIFT)
    draws: NDArray[np.float64] = state * np.float64(_ULP)
    return draws


def _mix(state: NDArray[np.uint64]) -> None:
    state ^= state >> np.uint64(_SHIFT_1)
    state *= np.uint64(_FACTOR_1)
    state ^= state >> np.uint64(_SHIFT_2)
    state *= np.uint64(_FACTOR_2)
    state ^= state >> np.uint64(_SHIFT_3)


def _parsed(digits: NDArray[np.uint8], *, first: int) -> NDArray[np.void]:
    """The numbers of ids, uint8[n, 24] of ASCII; `first` is the row number of the first id."""
    try:
        numbers = np.frombuffer(binascii.unhexlify(digits.data), _NUMBER)
    except binascii.Error:
        numbers = None
    if numbers is None or not np.bitwise_and.reduce(digits, axis=None) & _LOWER_CASE:
        ids = [bytes(row).decode("utf-8", "replace") for row in digits]
        row = next(row for row, pair_id in enumerate(ids) if not _VALID_ID.fullmatch(pair_id))
        raise _invalid_id(first + row, ids[row])
    return numbers


def _digits_by_chunk(pair_ids: PairIds) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The number of each chunk's first row and a view of its ids' bytes, uint8[n, 24].

    An id that is no 24 bytes is refused here.
    """
    if not isinstance(pair_ids, pa.Array | pa.ChunkedArray):
        pair_ids = pa.array(pair_ids, pa.string())
    chunks = pair_ids.chunks if isinstance(pair_ids, pa.ChunkedArray) else [pair_ids]
    start = 0
    for chunk in chunks:
        array = chunk if pa.types.is_large_string(chunk.type) else chunk.cast(pa.string())
        if len(array) == 0:
            continue
        offset_type = np.int64 if pa.types.is_large_string(array.type) else np.int32
        _, offset_buffer, byte_buffer = array.buffers()
        offsets = np.frombuffer(offset_buffer, offset_type, count=array.offset + len(array) + 1)[array.offset :]
        if array.null_count or (np.diff(offsets) != NUM_HEX_DIGITS).any():
            for row, pair_id in enumerate(array.to_pylist(), start):
                if pair_id is None or not _VALID_ID.fullmatch(pair_id):
                    raise _invalid_id(row, pair_id)
        data = np.frombuffer(byte_buffer, np.uint8)[offsets[0] : offsets[-1]]
        yield start, data.reshape(len(array), NUM_HEX_DIGITS)
        start += len(array)


def _checked_epochs(epoch: int | ArrayLike, *, num_pairs: int) -> NDArray[np.uint64]:
    epochs = np.asarray(epoch)
    if not np.issubdtype(epochs.dtype, np.integer) or (epochs < 0).any():
        raise ValueError(f"epochs must be integers of at least 0, got {epochs}")
    if epochs.shape not in {(), (num_pairs,)}:
        raise ValueError(f"expected one epoch, or one for each of {num_pairs} pairs; got shape {epochs.shape}")
    return epochs.astype(np.uint64)


def _invalid_id(row: int, pair_id: str | None) -> ValueError:
    return ValueError(f"a pair id has {NUM_HEX_DIGITS} lower-case hex digits; row {row} has {pair_id!r}")
