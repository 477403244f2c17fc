import numpy as np
import pytest
from scipy.stats import bootstrap

from metaclip_core.evaluation.bootstrap import percentile_interval, resampled_shares
from metaclip_core.evaluation.ranking import Tally


def tally(rows, share, seed):
    return Tally((np.random.default_rng(seed).random(rows) < share).astype(float), np.ones(rows))


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_an_interval_is_that_of_scipy(share):
    found = tally(400, share, 0)
    interval = percentile_interval(resampled_shares([found], resamples=4_000, seed=1)[:, 0])
    expected = bootstrap((found.right,), np.mean, n_resamples=4_000, method="percentile", rng=2).confidence_interval
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=0.008)
    assert interval.low < found.share < interval.high


def test_resamples_agree_with_drawing_rows_one_by_one():
    found = Tally(np.array([2.0, 0, 1, 5]), np.array([2.0, 3, 0, 6]))
    shares = resampled_shares([found, tally(4, 0.5, 1)], resamples=100, seed=7)
    rng = np.random.default_rng(7)
    drawn = np.concatenate([rng.integers(4, size=(rows, 4)) for rows in (64, 36)])
    asked = found.asked[drawn].sum(axis=1)
    expected = np.divide(found.right[drawn].sum(axis=1), asked, out=np.full(100, np.nan), where=asked > 0)
    np.testing.assert_allclose(shares[:, 0], expected)


def test_the_same_seed_gives_the_same_interval():
    first, again = (resampled_shares([tally(50, 0.5, 0)], resamples=70, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_mean_of_two_languages_on_the_same_images_is_no_surer_than_one_when_they_agree():
    one = tally(300, 0.5, 0)
    shares = resampled_shares([one, one], resamples=2_000, seed=1)
    assert percentile_interval(shares.mean(axis=1)) == percentile_interval(shares[:, 0])
