"""Which images look the same, found without comparing all with all.

Two forms of images are near if their aspect ratios agree, they share a key, and

- both have structure, their hashes differ in at most `distance` bits, and their colours by a few levels; or
- both are smooth, where a hash is noise, and their colours agree the closer.

Keys of structure are 12 bands of 21 bits of the hash: two hashes that differ in at most 11 bits share one for sure, and
of the copies that differ in up to 24, none of 3,030 shared none (tests/benchmarks/hashes.py). Keys of smooth pictures
are the mean colours of the upper and lower half, six numbers, cut into cells by seven grids, each 4 levels on from the
one before: where no number differs by 4, each is parted by one grid at most, and one grid parts none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

MAX_DISTANCE = 31  # of 256 bits; unrelated images differ in about 100 at least
NUM_BANDS, _BAND_BITS = 12, 21
NUM_GRIDS = 7

_MIN_STRUCTURE, _MAX_SMOOTH = 9, 16  # contrast; what lies between is both
_STRUCTURE_LEVELS, _SMOOTH_LEVELS = 12, 6  # that a colour of a cell may differ by
_ASPECT = 0.07  # log2: 5 %
_CELLS_OF_HALF = 8
_GRID_STEP = 4 * _CELLS_OF_HALF  # of sums
_GRID_CELL = NUM_GRIDS * _GRID_STEP
_CELL_BITS = 4

UInt64s = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Looks:
    """Forms of images as arrays of n rows."""

    image: Ints  # the number of the image that it is a form of; the lower is the earlier
    digest: UInt64s  # [n, 2]
    hash: UInt64s  # [n, 4]
    colours: npt.NDArray[np.int16]  # [n, 48]
    contrast: npt.NDArray[np.uint8]
    aspect: npt.NDArray[np.float32]

    @classmethod
    def from_table(cls, table: pa.Table, image: Ints) -> Self:
        """The columns of LOOK, none of them null."""
        colours = _binary(table["colours"], np.uint8).astype(np.int16)
        return cls(
            image,
            _binary(table["digest"], np.uint64),
            _binary(table["hash"], np.uint64),
            colours,
            table["contrast"].to_numpy(),
            table["aspect"].to_numpy(),
        )

    def take(self, rows: Ints) -> Looks:
        """Some of them."""
        return Looks(
            self.image[rows],
            self.digest[rows],
            self.hash[rows],
            self.colours[rows],
            self.contrast[rows],
            self.aspect[rows],
        )

    def __len__(self) -> int:
        return len(self.image)


def _binary(column: pa.ChunkedArray, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """A column of fixed-size binaries as a matrix."""
    array = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    width = column.type.byte_width
    data = np.frombuffer(array.buffers()[1] or b"", np.uint8, len(array) * width, array.offset * width)
    return data.reshape(len(array), width).view(dtype)


def is_complete(table: pa.Table) -> pa.ChunkedArray:
    """Which rows of LOOK are a form, and not an image that does not decode."""
    return pc.is_valid(table["hash"])


def keys(looks: Looks) -> Iterator[tuple[UInt64s, Ints]]:
    """The keys of each kind with the rows that have them; keys of different kinds are different."""
    structured = np.flatnonzero(looks.contrast >= _MIN_STRUCTURE)
    bits = np.unpackbits(looks.hash[structured].view(np.uint8), axis=1)[:, : NUM_BANDS * _BAND_BITS]
    places = 1 << np.arange(_BAND_BITS, dtype=np.uint64)
    for band in range(NUM_BANDS):
        yield bits[:, band::NUM_BANDS] @ places | np.uint64(band << 32), structured
    smooth = np.flatnonzero(looks.contrast <= _MAX_SMOOTH)
    sums = _half_sums(looks.colours[smooth]).astype(np.uint64)
    places = 1 << np.arange(0, sums.shape[1] * _CELL_BITS, _CELL_BITS, dtype=np.uint64)
    for grid in range(NUM_GRIDS):
        cells = (sums + np.uint64(grid * _GRID_STEP)) // np.uint64(_GRID_CELL)
        yield cells @ places | np.uint64(NUM_BANDS + grid << 32), smooth


def _half_sums(colours: npt.NDArray[np.int16]) -> npt.NDArray[np.int64]:
    """[n, 6]: of the cells of a half, for each half and colour."""
    sums: npt.NDArray[np.int64] = colours.reshape(-1, 2, _CELLS_OF_HALF, 3).sum(axis=2, dtype=np.int64)
    return sums.reshape(-1, 6)


def hash_distance(left: Looks, right: Looks) -> npt.NDArray[np.int64]:
    """Bits that differ, row by row."""
    distances: npt.NDArray[np.int64] = np.bitwise_count(left.hash ^ right.hash).sum(axis=1, dtype=np.int64)
    return distances


def near_in_structure(left: Looks, right: Looks, *, distance: int) -> Bools:
    """Row by row, whether two forms are near by their hashes, if they share a key."""
    near = (hash_distance(left, right) <= distance) & _have_aspect_of(left, right)
    near &= np.minimum(left.contrast, right.contrast) >= _MIN_STRUCTURE
    rows = np.flatnonzero(near)
    near[rows] = np.abs(left.colours[rows] - right.colours[rows]).max(axis=1, initial=0) <= _STRUCTURE_LEVELS
    return near


def near_in_colour(left: Looks, right: Looks) -> Bools:
    """Row by row, whether two forms are near by their colours alone; then they share a key."""
    near = (np.maximum(left.contrast, right.contrast) <= _MAX_SMOOTH) & _have_aspect_of(left, right)
    rows = np.flatnonzero(near)
    ours, others = left.colours[rows], right.colours[rows]
    agree = np.abs(ours - others).max(axis=1, initial=0) <= _SMOOTH_LEVELS
    agree &= np.abs(_half_sums(ours) - _half_sums(others)).max(axis=1, initial=0) < _GRID_STEP
    near[rows] = agree
    return near


def are_near(left: Looks, right: Looks, *, distance: int) -> Bools:
    """Row by row, whether two forms that share a key are near."""
    return near_in_structure(left, right, distance=distance) | near_in_colour(left, right)


def _have_aspect_of(left: Looks, right: Looks) -> Bools:
    agree: Bools = np.abs(left.aspect - right.aspect) <= _ASPECT
    return agree
