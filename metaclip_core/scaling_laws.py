"""Saturating power laws of training: what a metric becomes with more pairs and a larger model, and how sure that is.

    error(N, D) = floor + a · (N / N₀)^−α + b · (D / D₀)^−β

with the compute N of a pair and the pairs D seen; N₀ and D₀ are the geometric means of what was tried, so that a and b
are errors too. Two model sizes tell a slope and no curve: with two the term of N is −c · ln(N / N₀), which is not to be
carried to a third size. With one it is not there.

Intervals are those of laws fitted to what the same trainings might have come to (a parametric bootstrap). They hold too
where a parameter lies at the end of its range, as the floor does of trainings too short to show one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

CONFIDENCE = 0.95
_TAILS = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
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
_SCALE_OF = {"beta": "b", "alpha": "a"}  # where the scale may be nothing, its exponent may be anything
_DRAWS = 400
_REACH = 1_000.0  # how far beyond the largest training a crossing is looked for
_STEPS = 400
_EDGE = 1e-3  # nearer to the end of a parameter's range is at it
_INSIDE = 1e-6
_DIGITS = 12  # scipy comes as near to a bound as it can, and no nearer

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

    names: tuple[str, ...]
    values: Floats
    points: Floats  # FLOP of a pair and pairs, of each training
    flop_scale: float
    pairs_scale: float
    noise: float | None  # standard deviation of a training's error; None: as many parameters as trainings

    @property
    def most_pairs(self) -> float:
        """Of any training."""
        return float(self.points[:, 1].max())

    def parameters(self) -> dict[str, Interval]:
        """Each with its interval; it identifies nothing where it reaches the end of a range, but for a floor of 0."""
        intervals = {name: self._of_parameter(name) for name in self.names}
        for name, scale in _SCALE_OF.items():
            if name in intervals and not intervals[scale].is_identified:
                intervals[name] = Interval(intervals[name].value, None, None)
        return intervals

    def error(self, flop: float, pairs: float) -> Interval:
        """What a training of this size would come to; the noise of one training is not in it."""
        point = np.array([[flop, pairs]])
        value = float(self.errors(point)[0])
        if self.noise is None:
            return Interval(value, None, None)
        return _interval(value, self.drawn_errors(point)[:, 0])

    def errors(self, points: Floats) -> Floats:
        """At points (n, 2) of FLOP and pairs: (n,)."""
        return self._errors(points, self.values)

    def drawn_errors(self, points: Floats) -> Floats:
        """By each of the laws that the noise leaves possible: (draws, n).

        Raises:
            ValueError: as many parameters as trainings leave everything possible.
        """
        return np.stack([self._errors(points, values) for values in self._drawn])

    def fitted(self, errors: Floats, starts: Sequence[Floats]) -> Floats:
        """The parameters of least squares if the trainings had come to `errors`."""
        found = [
            optimize.least_squares(
                lambda values: self._errors(self.points, values) - errors, start, bounds=self._bounds, x_scale="jac"
            )
            for start in starts
        ]
        best = min(found, key=lambda one: float(one.cost))
        return np.asarray(np.round(best.x, _DIGITS), np.float64)

    @cached_property
    def _drawn(self) -> Floats:
        """Of trainings drawn anew, (draws, parameters); the noise too is as uncertain as so few trainings leave it."""
        if self.noise is None:
            raise ValueError("as many parameters as trainings leave everything possible")
        errors = self.errors(self.points)
        freedom = len(errors) - len(self.names)
        generator = np.random.default_rng(errors.view(np.uint32))  # other trainings, other noise
        noise = self.noise * np.sqrt(freedom / generator.chisquare(freedom, size=(_DRAWS, 1)))
        drawn = errors + noise * generator.standard_normal((_DRAWS, len(errors)))
        return np.stack([self.fitted(one, [self.values]) for one in drawn])

    @property
    def _bounds(self) -> tuple[Floats, Floats]:
        low, high = zip(*(_BOUNDS[name] for name in self.names), strict=True)
        return np.array(low), np.array(high)

    def _of_parameter(self, name: str) -> Interval:
        place = self.names.index(name)
        value = float(self.values[place])
        if self.noise is None:
            return Interval(value, None, None)
        low, high = np.quantile(self._drawn[:, place], _TAILS).tolist()
        least, most = _BOUNDS[name]
        if most - high < _EDGE or (low - least < _EDGE and name != "floor"):
            return Interval(value, None, None)
        return Interval(value, low, high)

    def _errors(self, points: Floats, values: Floats) -> Floats:
        floor, size, slope = values[:3]
        errors = floor + size * (points[:, 1] / self.pairs_scale) ** -slope
        size_of = points[:, 0] / self.flop_scale
        if "a" in self.names:
            errors = errors + values[3] * size_of ** -values[4]
        elif "c" in self.names:
            errors = errors - values[3] * np.log(size_of)
        return np.asarray(errors, np.float64)


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
    flop_scale, pairs_scale = np.exp(np.log(points).mean(axis=0)).tolist()
    law = Law(names, np.zeros(len(names)), points, flop_scale, pairs_scale, noise=None)
    law = replace(law, values=law.fitted(errors, _starts(errors, names)))
    freedom = len(errors) - len(names)
    if freedom < 1:
        return law
    return replace(law, noise=float(np.sqrt(np.square(law.errors(points) - errors).sum() / freedom)))


def crossing(one: Law, other: Law, *, flop: float, from_pairs: float) -> Interval | None:
    """The fewest pairs at which `one` errs no more than `other`, for a model size; None: at none in reach.

    The interval is that of crossings of laws drawn from both fits; it is not finite where too many of them never cross.
    """
    pairs = np.geomspace(from_pairs, _REACH * max(one.most_pairs, other.most_pairs), _STEPS)
    points = np.column_stack([np.full(_STEPS, flop), pairs])
    value = _first(pairs, one.errors(points) - other.errors(points))
    if not math.isfinite(value):
        return None
    if one.noise is None or other.noise is None:
        return Interval(value, None, None)
    drawn = one.drawn_errors(points) - other.drawn_errors(points)
    return _interval(value, np.array([_first(pairs, difference) for difference in drawn]))


def _starts(errors: Floats, names: Sequence[str]) -> list[Floats]:
    spread = max(float(errors.max() - errors.min()), _INSIDE)
    found = []
    for floor in (_INSIDE, float(errors.min()) / 2, float(errors.min()) * 0.95):
        for slope in (0.1, 0.3, 0.9):
            start = {"floor": floor, "b": spread, "beta": slope, "a": spread / 2, "alpha": slope, "c": 0.0}
            found.append(np.clip(np.array([start[name] for name in names]), _INSIDE, 1 - _INSIDE))
    return found


def _interval(value: float, drawn: Floats) -> Interval:
    low, high = np.quantile(drawn, _TAILS, method="nearest").tolist()  # some may be infinite
    return Interval(value, low, high) if math.isfinite(high) else Interval(value, None, None)


def _first(pairs: Floats, difference: Floats) -> float:
    """The pairs where it first is not positive, between points on a straight line over their logarithm; or infinity."""
    found = np.flatnonzero(difference <= 0)
    if not len(found):
        return math.inf
    end = int(found[0])
    if not end:
        return float(pairs[0])
    before, after = difference[end - 1], difference[end]
    logs = np.log(pairs[end - 1 : end + 1])
    return float(np.exp(logs[0] + (logs[1] - logs[0]) * before / (before - after)))
