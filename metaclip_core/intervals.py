"""The mean of repeated trainings, and how sure it is."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean with the range that holds the truth with CONFIDENCE, for normal values; None: one value has no spread."""

    value: float
    low: float | None
    high: float | None
    number: int


def mean_of(values: Sequence[float]) -> Mean:
    """The mean of at least one value, by Student's t."""
    value = statistics.fmean(values)
    if len(values) < 2:  # noqa: PLR2004 - a spread takes two
        return Mean(value, None, None, len(values))
    error = statistics.stdev(values) / len(values) ** 0.5
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return Mean(value, value - reach, value + reach, len(values))
