import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metaclip_core.intervals import mean_of


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True))
def test_interval_is_that_of_the_t_test(values):
    found = mean_of(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
    assert found.low <= found.value <= found.high


def test_one_value_has_no_interval():
    assert mean_of([0.5]).low is None


def test_intervals_hold_the_truth_as_often_as_they_say():
    generator = np.random.default_rng(0)
    found = [mean_of(generator.normal(3, 1, size=3).tolist()) for _ in range(500)]
    assert 0.92 < np.mean([mean.low <= 3 <= mean.high for mean in found]) < 0.98
