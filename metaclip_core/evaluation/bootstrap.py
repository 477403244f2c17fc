"""Bootstrap intervals of shares: images are drawn anew with replacement, and all that is said of them with them.

All shares of a set are resampled together, image by image, so that the captions of an image stay together and the mean
over languages gets an interval of its own. scipy's bootstrap would hold every resample of every language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metaclip_core.evaluation.ranking import Floats, Tally

LEVEL = 0.95
_RESAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Interval:
    """A range in which a share lies with 95 % confidence, by percentiles."""

    low: float
    high: float


def resampled_shares(tallies: Sequence[Tally], *, resamples: int, seed: int) -> Floats:
    """float64 [resamples, tallies]: the share of each tally in each resample; nan where a resample asks nothing.

    Tallies are over the same images.
    """
    right = np.stack([tally.right for tally in tallies], axis=1)
    asked = np.stack([tally.asked for tally in tallies], axis=1)
    generator = np.random.default_rng(seed)
    num_images = len(right)
    found = []
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        drawn = generator.integers(num_images, size=(min(_RESAMPLES_AT_ONCE, resamples - start), num_images))
        times = np.stack([np.bincount(rows, minlength=num_images) for rows in drawn]).astype(np.float64)
        with np.errstate(invalid="ignore"):
            found.append((times @ right) / (times @ asked))
    return np.concatenate(found)


def percentile_interval(shares: Floats) -> Interval:
    """Of the shares [resamples] of one tally, or of their mean over several."""
    low, high = np.nanquantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
