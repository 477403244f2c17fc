import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.counting import Measure
from metaclip_core.draws import Purpose, uniform_scalar
from metaclip_core.inclusion import InclusionRates, equal_share, inclusion, inclusion_rates, sample_pairs
from metaclip_core.records import SAMPLED, check
from tests.annotated_pools import counts_of, pool_of, pools, salted, uneven_pool


def slow_inclusion(pool, rates):
    chances = []
    for pair in pool.to_pylist():
        chance = rates.of_pairs
        for caption in pair["captions"]:
            by_language = rates.of_matched if caption["entry_ids"] else rates.of_unmatched
            chance = max(chance, by_language[caption["language"]])
        chances.append(chance)
    return chances


@given(st.lists(st.integers(0, 50), max_size=12), st.floats(0, 400))
def test_equal_share_of_any_sizes_takes_the_total_or_all(sizes, total):
    share = equal_share(sizes, total)
    taken = sum(min(size, share) for size in sizes)
    assert taken == pytest.approx(min(total, sum(sizes)), abs=1e-9)


@settings(max_examples=50)
@given(pools, st.integers(1, 30))
def test_inclusion_of_any_pool_is_the_largest_chance_of_its_captions(pool, num_pairs):
    rates = inclusion_rates(counts_of(pool), num_pairs=num_pairs)
    assert inclusion(pool, rates).tolist() == slow_inclusion(pool, rates)


@settings(max_examples=50)
@given(pools, st.integers(1, 30))
def test_inclusion_of_any_pool_sums_up_to_the_size_at_most(pool, num_pairs):
    chances = inclusion(pool, inclusion_rates(counts_of(pool), num_pairs=num_pairs))
    assert chances.sum() <= num_pairs + 1e-9
    assert ((chances > 0) & (chances <= 1)).all()


@settings(max_examples=50)
@given(pools)
def test_a_sample_as_large_as_its_pool_is_the_pool(pool):
    sample = sample_pairs(pool, inclusion_rates(counts_of(pool), num_pairs=max(1, pool.num_rows)))
    assert sample.drop(["inclusion"]).equals(pool)
    assert set(sample["inclusion"].to_pylist()) <= {1.0}


@settings(max_examples=50)
@given(pools, st.integers(1, 30), st.integers(0, 25))
def test_a_pair_is_sampled_by_its_id_and_chance_alone_however_the_pool_is_cut(pool, num_pairs, cut):
    rates = inclusion_rates(counts_of(pool), num_pairs=num_pairs)
    expected = [
        {**pair, "inclusion": chance}
        for pair, chance in zip(pool.to_pylist(), slow_inclusion(pool, rates), strict=True)
        if uniform_scalar(pair["pair_id"], purpose=Purpose.SAMPLE, epoch=0, seed=0) < chance
    ]
    parts = [sample_pairs(part, rates) for part in (pool.slice(0, cut), pool.slice(cut))]
    sample = pa.concat_tables(parts)
    assert check(sample, SAMPLED, stage="test").to_pylist() == expected


def test_rare_languages_are_whole_and_frequent_ones_share_the_rest_equally():
    pool = uneven_pool(4_000)
    counts = counts_of(pool)
    rates = inclusion_rates(counts, num_pairs=2_000)
    share = max(rates.of_matched[name] * counts.total(Measure.MATCHED_CAPTIONS, name) for name in rates.of_matched)
    assert rates.of_pairs == 0.25
    assert rates.of_matched["aa"] == rates.of_unmatched["aa"] == 1
    assert rates.of_matched["de"] * counts.total(Measure.MATCHED_CAPTIONS, "de") == pytest.approx(share)
    assert rates.of_matched["en"] < rates.of_matched["de"] < 1


def test_samples_hold_as_many_pairs_as_their_chances_promise():
    pool = uneven_pool(2_000)
    rates = inclusion_rates(counts_of(pool), num_pairs=600)
    chances = inclusion(pool, rates)
    sizes = [sample_pairs(salted(pool, salt), rates).num_rows for salt in range(40)]
    spread = np.sqrt((chances * (1 - chances)).sum() / len(sizes))
    assert np.mean(sizes) == pytest.approx(chances.sum(), abs=4 * spread)


def test_a_language_that_nobody_counted_is_an_error_of_the_program():
    rates = InclusionRates(0.5, {"de": 1.0}, {"de": 1.0})
    with pytest.raises((IndexError, TypeError)):
        inclusion(pool_of([[("en", [0])]]), rates)
