"""Images of handwritten numbers, put together from scikit-learn's 8 x 8 scans of digits."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from metaclip_core.sample.seeding import Purpose, generator

NUM_DIGITS = 10
HELD_OUT_SHARE = 0.2
_BOARD_SHARE = 0.2  # light ink on dark ground
_RULED_SHARE = 0.3
_SCAN_SIDE = 8
_LEAST_INK = 0.2  # of a column that counts as inked
_MARGIN = 2  # empty pixels around a scan, so that resampling does not smear its border

Pixels = NDArray[np.uint8]
Mask = NDArray[np.float32]


@dataclass(frozen=True)
class Scans:
    """A set of scans: for each digit, the numbers of its scans in scikit-learn's data set."""

    ids_by_digit: tuple[tuple[int, ...], ...]

    @property
    def ids(self) -> frozenset[int]:
        """The numbers of all scans of the set."""
        return frozenset(scan for ids in self.ids_by_digit for scan in ids)


@dataclass(frozen=True)
class Split:
    """Disjoint scans for the pool and for the evaluation sets."""

    pool: Scans
    held_out: Scans


@dataclass(frozen=True)
class NumberImage:
    """A rendered number: uint8 [height, width, 3], and the scans in it, from left to right."""

    pixels: Pixels
    scans: tuple[int, ...]


@cache
def _scans() -> tuple[Mask, NDArray[np.int64]]:
    """All scans as ink in [0, 1], float32 [n, 8, 8], and their digits."""
    digits = load_digits()
    return (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)


@cache
def split_scans(seed: int) -> Split:
    """Hold out 20 % of the scans of each digit, chosen by `seed`."""
    rng = generator(seed, Purpose.SPLIT)
    pool, held_out = [], []
    for digit in range(NUM_DIGITS):
        ids = rng.permutation(np.flatnonzero(_scans()[1] == digit)).tolist()
        num_held_out = round(len(ids) * HELD_OUT_SHARE)
        held_out.append(tuple(sorted(ids[:num_held_out])))
        pool.append(tuple(sorted(ids[num_held_out:])))
    return Split(pool=Scans(tuple(pool)), held_out=Scans(tuple(held_out)))


def draw_number(number: int, scans: Scans, rng: np.random.Generator) -> NumberImage:
    """Render `number`, 0 to 99, from one or two randomly drawn scans of its digits."""
    digits = [number] if number < NUM_DIGITS else list(divmod(number, NUM_DIGITS))
    ids = tuple(scans.ids_by_digit[d][int(rng.integers(len(scans.ids_by_digit[d])))] for d in digits)
    return NumberImage(pixels=render(ids, rng), scans=ids)


def render(scan_ids: tuple[int, ...], rng: np.random.Generator) -> Pixels:
    """The scans side by side on paper: place, size, slant, ink, paper and noise vary; sides are 40 to 96 pixels."""
    height = int(rng.integers(44, 88))
    width = int(np.clip(round(height * rng.uniform(0.95, 1.06)), 40, 96))
    mask = _ink_mask(scan_ids, height=height, width=width, rng=rng)
    paper, ink = _colours(rng)
    ground = _paper(paper, height=height, width=width, rng=rng)
    drawn = ground + (ink - ground) * mask[..., None]
    drawn += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(rng.uniform(1, 8))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def _ink_mask(scan_ids: tuple[int, ...], *, height: int, width: int, rng: np.random.Generator) -> Mask:
    """How much ink lies on each pixel, float32 [height, width] in [0, 1]."""
    inks = [_framed_ink(scan) for scan in scan_ids]
    gap = rng.uniform(0.4, 1.4) * (len(inks) - 1)
    columns = sum(_num_columns(ink) for ink in inks) + gap
    scale_y = height * rng.uniform(0.62, 0.86) / _SCAN_SIDE
    slant = rng.uniform(-0.1, 0.18)
    lean = abs(slant) * _SCAN_SIDE * scale_y
    scale_x = min(scale_y * rng.uniform(0.8, 1.1), (0.9 * width - lean) / columns)
    left = lean / 2 + rng.uniform(0.2, 0.8) * (width - lean - columns * scale_x)
    top = rng.uniform(0.2, 0.8) * (height - _SCAN_SIDE * scale_y)
    threshold = rng.uniform(0.34, 0.48)
    mask = np.zeros((height, width), np.float32)
    for ink in inks:
        # Output pixel (x, y) takes its ink from (a x + b y + c, e y + f) of the scan.
        a, b, e = 1 / scale_x, slant / scale_x, 1 / scale_y
        centre_y = top + scale_y * _SCAN_SIDE / 2
        coefficients = (a, b, _MARGIN - a * left - b * centre_y, 0.0, e, _MARGIN - e * top)
        placed = Image.fromarray(ink).transform(
            (width, height), Image.Transform.AFFINE, data=coefficients, resample=Image.Resampling.BICUBIC
        )
        mask = np.maximum(mask, np.asarray(placed))
        left += (_num_columns(ink) + gap) * scale_x
    # The scans are 8 pixels wide: a steeper edge makes strokes of their blur.
    strokes: Mask = np.clip((mask - threshold) * 3 + 0.5, 0, 1)
    return strokes


@cache
def _framed_ink(scan: int) -> Mask:
    """The ink of `scan` without the empty columns at its sides, in a frame of _MARGIN empty pixels."""
    ink = _scans()[0][scan]
    inked = np.flatnonzero(ink.max(axis=0) > _LEAST_INK)
    return np.pad(ink[:, inked[0] : inked[-1] + 1], _MARGIN)


def _num_columns(framed_ink: Mask) -> int:
    return int(framed_ink.shape[1]) - 2 * _MARGIN


def _colours(rng: np.random.Generator) -> tuple[Mask, Mask]:
    """Colours of paper and ink, float32 [3] each: dark on light, or the reverse."""
    light = rng.uniform(185, 255) + rng.uniform(-25, 10, 3)
    dark = rng.uniform(10, 60) + rng.uniform(-10, 50, 3)
    paper, ink = (dark, light) if rng.random() < _BOARD_SHARE else (light, dark)
    return paper.astype(np.float32), ink.astype(np.float32)


def _paper(colour: Mask, *, height: int, width: int, rng: np.random.Generator) -> Mask:
    """Paper with a little shade across it, at times ruled, float32 [height, width, 3]."""
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
    shade = rng.uniform(-20, 20) * x + rng.uniform(-20, 20) * y
    if rng.random() < _RULED_SHARE:
        step, first = int(rng.integers(9, 16)), int(rng.integers(9))
        shade[first::step] += rng.uniform(-24, 24)
    return (colour + shade[..., None]).astype(np.float32)
