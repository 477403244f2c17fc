import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.scaling_laws import Observation, crossing, fit

PAIRS = [1e4, 3e4, 1e5, 3e5, 1e6]


def law_of(floor, b, beta, a=0.0, alpha=0.0, *, flops=(1e6,), noise=0.0, seed=0, repeats=1):
    """Trainings that follow a law, errors relative to 10⁵ pairs and 10⁶ FLOP."""
    generator = np.random.default_rng(seed)
    return [
        Observation(
            flop, pairs, floor + b * (pairs / 1e5) ** -beta + a * (flop / 1e6) ** -alpha + noise * generator.normal()
        )
        for flop in flops
        for pairs in PAIRS
        for _ in range(repeats)
    ]


@settings(max_examples=40)
@given(st.floats(0.05, 0.4), st.floats(0.05, 0.4), st.floats(0.15, 1.2))
def test_law_without_noise_is_found(floor, b, beta):
    law = fit(law_of(floor, b, beta))
    for pairs in (*PAIRS, 1e7):
        expected = floor + b * (pairs / 1e5) ** -beta
        assert law.error(1e6, pairs).value == pytest.approx(expected, abs=2e-3)


def test_law_over_sizes_is_found_and_predicts_a_size_between():
    law = fit(law_of(0.1, 0.2, 0.5, 0.1, 0.4, flops=(2.5e5, 1e6, 4e6), noise=1e-4))
    assert set(law.names) == {"floor", "b", "beta", "a", "alpha"}
    expected = 0.1 + 0.2 * (5e5 / 1e5) ** -0.5 + 0.1 * 2**-0.4
    assert law.error(2e6, 5e5).value == pytest.approx(expected, abs=2e-3)


def test_two_sizes_tell_a_slope_that_is_identified():
    law = fit(law_of(0.1, 0.2, 0.5, 0.1, 0.4, flops=(2.5e5, 4e6), noise=1e-4, repeats=2))
    assert law.names == ("floor", "b", "beta", "c")
    assert all(found.is_identified for found in law.parameters().values())
    assert law.parameters()["c"].value > 0
    for flop in (2.5e5, 4e6):
        expected = 0.1 + 0.2 * (5e5 / 1e5) ** -0.5 + 0.1 * (flop / 1e6) ** -0.4
        assert law.error(flop, 5e5).value == pytest.approx(expected, abs=2e-3)


def test_model_that_does_worse_for_being_larger_is_told():
    turned = [
        Observation(1e12 / one.flop, one.pairs, one.error)
        for one in law_of(0.1, 0.2, 0.5, 0.1, 0.4, flops=(2.5e5, 4e6), noise=1e-4)
    ]
    assert fit(turned).parameters()["c"].high < 0


@pytest.mark.parametrize("floor", [0.1, 0.0])
def test_intervals_hold_the_truth_as_often_as_they_say(floor):
    laws = [fit(law_of(floor, 0.2, 0.5, noise=0.004, seed=seed, repeats=3)) for seed in range(60)]
    truth = floor + 0.2 * 10**-0.5
    found = [law.error(1e6, 1e6) for law in laws]
    assert 0.85 <= np.mean([one.low <= truth <= one.high for one in found]) <= 1.0
    assert np.median([one.high - one.low for one in found]) < 0.02


def test_trainings_too_short_to_show_a_floor_bound_it_and_what_they_predict():
    law = fit(law_of(0.0, 0.7, 0.1, flops=(2.5e5, 1e6), noise=0.01))
    floor = law.parameters()["floor"]
    assert floor.low == 0
    assert 0.2 < floor.high < 0.7
    near, far = law.error(1e6, 2e6), law.error(1e6, 1e9)
    assert near.low <= 0.7 * 20**-0.1 <= near.high
    assert far.low <= 0.7 * 1e4**-0.1 <= far.high
    assert far.high - far.low > 3 * (near.high - near.low)


def test_as_many_parameters_as_trainings_identify_nothing():
    law = fit(law_of(0.1, 0.2, 0.5)[:3])
    assert not any(found.is_identified for found in law.parameters().values())
    assert law.error(1e6, 1e5).low is None


def test_line_without_a_floor_is_not_identified():
    flat = [Observation(1e6, pairs, 0.5) for pairs in PAIRS]
    assert not fit(flat).parameters()["beta"].is_identified


def test_two_numbers_of_pairs_are_refused():
    with pytest.raises(ValueError, match="three different numbers"):
        fit([Observation(1e6, pairs, 0.5) for pairs in (1e4, 1e5, 1e5)])


def test_crossing_is_where_the_laws_cross():
    worse_at_first = fit(law_of(0.05, 0.3, 0.5, noise=1e-4, repeats=2))
    better_at_first = fit(law_of(0.15, 0.2, 0.5, noise=1e-4, repeats=2, seed=1))
    found = crossing(worse_at_first, better_at_first, flop=1e6, from_pairs=1e4)
    assert found.value == pytest.approx(1e5, rel=0.1)  # 0.1 · (D/10⁵)^−½ = 0.1
    assert found.low <= 1e5 <= found.high
    assert found.high / found.low < 1.5


def test_crossing_that_noise_hides_is_not_identified():
    one = fit(law_of(0.10, 0.30, 0.5, noise=0.01, repeats=2))
    other = fit(law_of(0.105, 0.28, 0.5, noise=0.01, repeats=2, seed=1))
    found = crossing(one, other, flop=1e6, from_pairs=1e4)
    assert found is None or not found.is_identified


def test_laws_that_never_meet_have_no_crossing():
    one, other = fit(law_of(0.4, 0.2, 0.5)), fit(law_of(0.1, 0.2, 0.5))
    assert crossing(one, other, flop=1e6, from_pairs=1e4) is None
