import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.search_space import Choice, Interval, corners, draws, grid

choices = st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True).map(lambda values: Choice(tuple(values)))
linear = st.tuples(st.integers(-50, 50), st.integers(1, 50)).map(
    lambda ends: Interval(ends[0], ends[0] + ends[1], is_log=False, is_integer=True)
)
log = st.tuples(st.floats(1e-6, 1), st.floats(1.5, 1e4)).map(
    lambda ends: Interval(ends[0], ends[0] * ends[1], is_log=True, is_integer=False)
)
log_integer = st.tuples(st.integers(1, 50), st.integers(1, 1000)).map(
    lambda ends: Interval(ends[0], ends[0] + ends[1], is_log=True, is_integer=True)
)
spaces = st.dictionaries(st.sampled_from("abc"), st.one_of(choices, linear, log, log_integer), min_size=1)


@given(st.dictionaries(st.sampled_from("abc"), choices))
def test_grid_has_every_point_once(dials):
    points = list(grid(dials))
    assert len(points) == math.prod(len(dial.values) for dial in dials.values())
    assert len({tuple(point.items()) for point in points}) == len(points)
    assert all(point[name] in dial.values for point in points for name, dial in dials.items())


@given(spaces, st.integers(0, 5))
def test_draws_differ_lie_in_the_space_and_depend_on_the_seed_alone(dials, seed):
    points = list(itertools.islice(draws(dials, seed=seed), 8))
    assert points == list(itertools.islice(draws(dials, seed=seed), 8))
    assert points[:3] == list(itertools.islice(draws(dials, seed=seed), 3))
    assert len({repr(point) for point in points}) == len(points)
    for point in points:
        for name, dial in dials.items():
            if isinstance(dial, Choice):
                assert point[name] in dial.values
            else:
                assert dial.low <= point[name] <= dial.high
                assert isinstance(point[name], int) == dial.is_integer


@given(st.dictionaries(st.sampled_from("ab"), choices, min_size=1))
def test_draws_of_a_finite_space_are_its_grid(dials):
    drawn, all_points = draws(dials, seed=0), grid(dials)
    assert sorted(map(repr, drawn)) == sorted(map(repr, all_points))


def test_logarithmic_draws_have_as_many_below_the_geometric_mean_as_above():
    dial = Interval(1e-6, 1.0, is_log=True, is_integer=False)
    below = [point["rate"] < 1e-3 for point in itertools.islice(draws({"rate": dial}, seed=1), 400)]
    assert 160 < sum(below) < 240


@given(spaces)
def test_corners_visit_every_position_and_both_ends(dials):
    points = list(corners(dials))
    for name, dial in dials.items():
        visited = {point[name] for point in points}
        assert visited == (set(dial.values) if isinstance(dial, Choice) else {dial.low, dial.high})


@pytest.mark.parametrize("number", [1, 7])
def test_integers_of_both_ends_are_drawn(number):
    dial = Interval(number, number + 1, is_log=True, is_integer=True)
    assert {point["n"] for point in draws({"n": dial}, seed=0)} == {number, number + 1}
