"""Saturating power laws of training: what a metric becomes with more pairs and a larger model, and how sure that is.

    error(N, D) = floor + a · (N / N₀)^−α + b · (D / D₀)^−β

with the compute N of a pair and the pairs D seen; N₀ and D₀ are the geometric means of what was tried, so that a and b
are errors too. Two model sizes tell a slope and no curve: with two the term of N is −c · ln(N / N₀), which is not to be
carried to a third size. With one it is not there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

CONFIDENCE = 0.95
_STEEPEST = 3.0
_BOUNDS = {
    "floor": (0.0, 1.0),
    "b": (0.0, 1.0),
    "beta": (0.0, _STEEPEST),
    "a": (0.0, 1.0),
    "alpha": (0.0, _STEEPEST),
    "c": (-1.0, 1.0),
}
_OF_SIZES = {1: (), 2: ("c",), 3: ("a", "alpha")}  # parameters, by how many sizes there are; 3: or more
_DRAWS = 2_000
_REACH = 1_000.0  # how far beyond the largest training a crossing is looked for
_STEPS = 400
_EDGE = 1e-6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """A training to its end: FLOP of a pair, pairs seen, and a metric as a share of errors."""

    flop: float
    pairs: float
    error: float


@dataclass(frozen=True)
class Interval:
    """An estimate with the range that holds the truth with CONFIDENCE; None: the trainings don't identify it."""

    value: float
    low: float | None
    high: float | None

    @property
    def is_identified(self) -> bool:
        """Whether the range is finite."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Law:
    """A fitted law: `floor, b, β`, with two sizes `c`, with more `a, α`."""

    flop_scale: float
    pairs_scale: float
    names: tuple[str, ...]
    values: Floats
    covariance: Floats | None  # None: not identifiable
    freedom: int  # trainings less parameters
    most_pairs: float  # of any training

    def parameters(self) -> dict[str, Interval]:
        """Each with its interval."""
        return {
            name: _interval(float(value), None if self.covariance is None else self.covariance[i, i], self.freedom)
            for i, (name, value) in enumerate(zip(self.names, self.values, strict=True))
        }

    def error(self, flop: float, pairs: float) -> Interval:
        """What a training of this size would come to, by the delta method; the noise of one training is not in it."""
        point = np.array([[flop, pairs]])
        value = float(_errors(point, self.values, self)[0])
        if self.covariance is None:
            return Interval(value, None, None)
        gradient = optimize.approx_fprime(self.values, lambda values: _errors(point, values, self)[0], 1e-7)
        return _interval(value, float(gradient @ self.covariance @ gradient), self.freedom)


def fit(observations: Sequence[Observation]) -> Law:
    """The law of least squares through some trainings.

    Raises:
        ValueError: fewer than three different numbers of pairs: no saturation shows in two.
    """
    points = np.array([[one.flop, one.pairs] for one in observations])
    errors = np.array([one.error for one in observations])
    if len(set(points[:, 1])) < 3:  # noqa: PLR2004 - a floor, a size and a slope
        raise ValueError("a law needs at least three different numbers of seen pairs")
    names = ("floor", "b", "beta", *_OF_SIZES[min(len(set(points[:, 0])), 3)])
    law = Law(
        flop_scale=float(np.exp(np.log(points[:, 0]).mean())),
        pairs_scale=float(np.exp(np.log(points[:, 1]).mean())),
        names=names,
        values=np.zeros(len(names)),
        covariance=None,
        freedom=len(errors) - len(names),
        most_pairs=float(points[:, 1].max()),
    )
    low, high = _bounds(names)
    best = min(
        (
            optimize.least_squares(
                lambda values: _errors(points, values, law) - errors, start, bounds=(low, high), x_scale="jac"
            )
            for start in _starts(errors, names)
        ),
        key=lambda found: float(found.cost),
    )
    covariance = _covariance(best, low, high, law.freedom)
    return Law(law.flop_scale, law.pairs_scale, names, best.x, covariance, law.freedom, law.most_pairs)


def crossing(one: Law, other: Law, *, flop: float, from_pairs: float, seed: int = 0) -> Interval | None:
    """The fewest pairs at which `one` errs no more than `other`, for a model size; None: at none in reach.

    The interval is that of crossings of laws drawn from both fits; it is not finite where too many of them never cross.
    """
    pairs = np.geomspace(from_pairs, _REACH * max(one.most_pairs, other.most_pairs), _STEPS)
    points = np.column_stack([np.full(_STEPS, flop), pairs])
    value = _first(points, _errors(points, one.values, one) - _errors(points, other.values, other))
    if value is None:
        return None
    if one.covariance is None or other.covariance is None:
        return Interval(value, None, None)
    generator = np.random.default_rng(seed)
    drawn = [
        _first(points, _errors(points, mine, one) - _errors(points, theirs, other))
        for mine, theirs in zip(_drawn(one, generator), _drawn(other, generator), strict=True)
    ]
    ends = np.quantile([math.inf if found is None else found for found in drawn], _tails(), method="nearest")
    if not np.isfinite(ends).all():
        return Interval(value, None, None)
    return Interval(value, float(ends[0]), float(ends[1]))


def _errors(points: Floats, values: Floats, law: Law) -> Floats:
    floor, size, slope = values[:3]
    errors = floor + size * (points[:, 1] / law.pairs_scale) ** -slope
    size_of = points[:, 0] / law.flop_scale
    if "a" in law.names:
        errors = errors + values[3] * size_of ** -values[4]
    elif "c" in law.names:
        errors = errors - values[3] * np.log(size_of)
    return np.asarray(errors, np.float64)


def _bounds(names: Sequence[str]) -> tuple[Floats, Floats]:
    low, high = zip(*(_BOUNDS[name] for name in names), strict=True)
    return np.array(low), np.array(high)


def _starts(errors: Floats, names: Sequence[str]) -> list[Floats]:
    spread = max(float(errors.max() - errors.min()), _EDGE)
    found = []
    for floor in (_EDGE, float(errors.min()) / 2, float(errors.min()) * 0.95):
        for slope in (0.1, 0.3, 0.9):
            start = {"floor": floor, "b": spread, "beta": slope, "a": spread / 2, "alpha": slope, "c": 0.0}
            found.append(np.clip(np.array([start[name] for name in names]), _EDGE, 1 - _EDGE))
    return found


def _covariance(found: Any, low: Floats, high: Floats, freedom: int) -> Floats | None:  # noqa: ANN401 - scipy's result
    """Of the parameters, or None where a bound holds one of them or the trainings leave one open."""
    at_a_bound = (found.x - low < _EDGE) | (high - found.x < _EDGE)
    if freedom < 1 or at_a_bound.any():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            inverse = np.linalg.inv(found.jac.T @ found.jac)
        except (np.linalg.LinAlgError, RuntimeWarning):
            return None
    covariance = inverse * 2 * found.cost / freedom
    return covariance if np.isfinite(covariance).all() and (np.diag(covariance) >= 0).all() else None


def _interval(value: float, variance: float | None, freedom: int) -> Interval:
    if variance is None or not math.isfinite(variance):
        return Interval(value, None, None)
    reach = float(stats.t.ppf(_tails()[1], freedom)) * math.sqrt(max(0.0, variance))
    return Interval(value, value - reach, value + reach)


def _drawn(law: Law, generator: np.random.Generator) -> Floats:
    """Parameters as the fit leaves them open, within what a law can be."""
    drawn = generator.multivariate_normal(law.values, law.covariance, size=_DRAWS)  # type: ignore[arg-type] # known
    return np.asarray(np.clip(drawn, *_bounds(law.names)))


def _first(points: Floats, difference: Floats) -> float | None:
    """The pairs where it first is not positive, between points on a straight line over their logarithm."""
    found = np.flatnonzero(difference <= 0)
    if not len(found):
        return None
    end = int(found[0])
    if not end:
        return float(points[0, 1])
    before, after = difference[end - 1], difference[end]
    logs = np.log(points[end - 1 : end + 1, 1])
    return float(np.exp(logs[0] + (logs[1] - logs[0]) * before / (before - after)))


def _tails() -> tuple[float, float]:
    return (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
