"""Search spaces: dials, and the points at which they are tried. A point depends on the seed and its place alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

_MOST_TRIES = 1_000  # for a point that was not drawn yet


@dataclass(frozen=True)
class Choice:
    """A dial with these positions, of any JSON type."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Interval:
    """A dial from `low` to `high`, both inclusive."""

    low: float
    high: float
    is_log: bool
    is_integer: bool


Dial = Choice | Interval
Point = dict[str, Any]


def grid(dials: Mapping[str, Choice]) -> Iterator[Point]:
    """All points of a finite space; the last dial turns fastest."""
    for values in itertools.product(*(dial.values for dial in dials.values())):
        yield dict(zip(dials, values, strict=True))


def draws(dials: Mapping[str, Dial], *, seed: int) -> Iterator[Point]:
    """Different random points; a finite space ends when it is exhausted, or nearly so."""
    known: set[str] = set()
    for place in itertools.count():
        if place - len(known) > _MOST_TRIES:
            return
        generator = np.random.default_rng([seed, place])
        point = {name: _draw(dial, generator) for name, dial in dials.items()}
        if repr(point) not in known:
            known.add(repr(point))
            yield point
        elif len(known) == _size(dials):
            return


def corners(dials: Mapping[str, Dial]) -> Iterator[Point]:
    """One point for each position of each dial, and for both ends of an interval; the other dials stand at their first.

    What is refused at none of these is refused nowhere, where dials are judged one by one.
    """
    ends = {name: dial.values if isinstance(dial, Choice) else _ends(dial) for name, dial in dials.items()}
    first = {name: values[0] for name, values in ends.items()}
    yield first
    for name, values in ends.items():
        for value in values[1:]:
            yield {**first, name: value}


def _ends(dial: Interval) -> tuple[float, ...]:
    return (int(dial.low), int(dial.high)) if dial.is_integer else (dial.low, dial.high)


def _draw(dial: Dial, generator: np.random.Generator) -> Any:  # noqa: ANN401 - of the dial's type
    if isinstance(dial, Choice):
        return dial.values[int(generator.integers(len(dial.values)))]
    low, high = dial.low, dial.high
    if dial.is_integer:
        if not dial.is_log:
            return int(generator.integers(int(low), int(high), endpoint=True))
        drawn = math.exp(generator.uniform(math.log(low - 0.5), math.log(high + 0.5)))
        return min(int(high), max(int(low), round(drawn)))
    if dial.is_log:
        return min(high, max(low, math.exp(generator.uniform(math.log(low), math.log(high)))))
    return float(generator.uniform(low, high))


def _size(dials: Mapping[str, Dial]) -> float:
    """How many points there are."""
    return math.prod(
        len(dial.values) if isinstance(dial, Choice) else dial.high - dial.low + 1 if dial.is_integer else math.inf
        for dial in dials.values()
    )
