import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.balancing import pair_probability, thresholds
from metaclip_core.counting import Measure
from metaclip_core.estimates import CONFIDENCE, Chances, chances, estimate_pairs
from metaclip_core.inclusion import inclusion_rates, sample_pairs
from metaclip_core.sampling import ProbabilityTables, draw, expected_kept
from tests.annotated_pools import counts_of, pools, salted, uneven_pool

POOL = uneven_pool(3_000)
COUNTS = counts_of(POOL)
SAMPLE_SIZES = [100, 400, 1_500, 3_000]


def estimated(sample, counts, t):
    kept_matches = {language: int(np.minimum(counts.matches[language], t[language]).sum()) for language in t}
    return estimate_pairs(
        chances(sample, ProbabilityTables(counts.matches, t)),
        matched={language: counts.total(Measure.MATCHED_CAPTIONS, language) for language in t},
        kept_matches=kept_matches,
        matched_pairs=counts.total(Measure.MATCHED_PAIRS),
    )


def slow_mean(sample, counts, t, language):
    """The ratio estimate of a language, in loops."""
    kept = captions = 0.0
    for pair in sample.to_pylist():
        matched = [caption for caption in pair["captions"] if caption["entry_ids"]]
        for caption in matched:
            if caption["language"] == language:
                p = t[language] / np.maximum(counts.matches[language], t[language])
                kept += pair_probability(p, caption["entry_ids"]) / len(matched) / pair["inclusion"]
                captions += 1 / pair["inclusion"]
    return counts.total(Measure.MATCHED_CAPTIONS, language) * kept / captions if captions else None


def sample_at(salt, size):
    pool = salted(POOL, salt)
    return pool, sample_pairs(pool, inclusion_rates(COUNTS, num_pairs=size))


@settings(max_examples=50)
@given(pools, st.integers(1, 30), st.floats(0, 1))
def test_estimates_of_any_sample_lie_within_what_is_certain(pool, num_pairs, p):
    counts = counts_of(pool)
    t = thresholds(counts.matches, p=p).t
    result = estimated([sample_pairs(pool, inclusion_rates(counts, num_pairs=num_pairs))], counts, t)
    assert set(result.by_language) == set(t)
    for language, pairs in result.by_language.items():
        assert 0 <= pairs.low <= pairs.mean <= pairs.high <= counts.total(Measure.MATCHED_CAPTIONS, language)
        assert pairs.mean <= np.minimum(counts.matches[language], t[language]).sum()
    total = result.total
    assert 0 <= total.low <= total.mean <= total.high
    assert total.high <= counts.total(Measure.MATCHED_PAIRS)


@settings(max_examples=50)
@given(pools, st.floats(0, 1))
def test_estimates_from_the_whole_pool_are_its_expected_draw(pool, p):
    counts = counts_of(pool)
    t = thresholds(counts.matches, p=p).t
    result = estimated([sample_pairs(pool, inclusion_rates(counts, num_pairs=1_000))], counts, t)
    expected = expected_kept(pool, ProbabilityTables(counts.matches, t))
    assert {language: pairs.mean for language, pairs in result.by_language.items()} == pytest.approx(expected)
    assert result.total.mean == pytest.approx(sum(expected.values()))


@settings(max_examples=50)
@given(pools, st.integers(1, 30), st.integers(0, 25))
def test_estimates_of_a_sample_in_parts_are_those_of_the_whole(pool, num_pairs, cut):
    counts = counts_of(pool)
    t = thresholds(counts.matches, p=0.2).t
    sample = sample_pairs(pool, inclusion_rates(counts, num_pairs=num_pairs))
    assert estimated([sample.slice(0, cut), sample.slice(cut)], counts, t) == estimated([sample], counts, t)


@pytest.mark.parametrize("size", SAMPLE_SIZES)
def test_estimates_of_languages_with_many_captions_are_those_of_plain_loops(size):
    _, sample = sample_at(0, size)
    t = thresholds(COUNTS.matches, p=0.1).t
    result = estimated([sample], COUNTS, t)
    for language in ("en", "de", "ja"):
        assert result.by_language[language].mean == pytest.approx(slow_mean(sample, COUNTS, t, language))


@pytest.mark.parametrize("size", SAMPLE_SIZES)
def test_draws_lie_in_their_intervals_as_often_as_promised(size):
    inside, of_total, num_draws = Counter(), 0, 0
    for salt in range(12):
        pool, sample = sample_at(salt, size)
        for p in (0.02, 0.1, 0.4):
            t = thresholds(COUNTS.matches, p=p).t
            tables = ProbabilityTables(COUNTS.matches, t)
            result = estimated([sample], COUNTS, t)
            for epoch in range(4):
                drawn = draw(pool, tables, epoch=epoch, seed=salt)
                kept = Counter(drawn.language.to_pylist())
                for language, pairs in result.by_language.items():
                    inside[language] += pairs.low <= kept[language] <= pairs.high
                of_total += result.total.low <= len(drawn.row) <= result.total.high
                num_draws += 1
    assert sum(inside.values()) / len(inside) / num_draws >= CONFIDENCE - 0.02
    assert min(inside.values()) / num_draws >= 0.9
    assert of_total / num_draws >= 0.9


@pytest.mark.parametrize("size", SAMPLE_SIZES)
def test_intervals_are_not_much_wider_than_draws_are_from_the_mean(size):
    t = thresholds(COUNTS.matches, p=0.1).t
    tables = ProbabilityTables(COUNTS.matches, t)
    errors, widths = [], []
    for salt in range(40):
        pool, sample = sample_at(salt, size)
        result = estimated([sample], COUNTS, t)
        kept = Counter(draw(pool, tables, epoch=0, seed=0).language.to_pylist())
        pairs = [result.by_language[language] for language in ("en", "de", "ja", "sw")]
        errors.append([*(kept[name] - mean for name, mean in zip(("en", "de", "ja", "sw"), means(pairs), strict=True))])
        widths.append([estimate.high - estimate.low for estimate in pairs])
    asked = 2 * 1.96 * np.sqrt(np.mean(np.square(errors), axis=0))
    assert (np.mean(widths, axis=0) <= 1.5 * asked + 2).all()


def means(pairs):
    return [estimate.mean for estimate in pairs]


def test_means_of_many_samples_average_to_the_expected_draw():
    t = thresholds(COUNTS.matches, p=0.1).t
    truth = expected_kept(POOL, ProbabilityTables(COUNTS.matches, t))
    results = [estimated([sample_at(salt, 400)[1]], COUNTS, t) for salt in range(60)]
    for language, expected in truth.items():
        found = np.array([result.by_language[language].mean for result in results])
        assert found.mean() == pytest.approx(expected, abs=4 * found.std() / math.sqrt(len(found)) + 0.01 * expected)
    assert np.mean([result.total.mean for result in results]) == pytest.approx(sum(truth.values()), rel=0.01)


def test_an_empty_sample_knows_only_what_the_counts_say():
    t = thresholds(COUNTS.matches, p=0.1).t
    result = estimated([], COUNTS, t)
    truth = expected_kept(POOL, ProbabilityTables(COUNTS.matches, t))
    for language, pairs in result.by_language.items():
        assert pairs.low <= truth[language] <= pairs.high
        assert pairs.high > pairs.low
    assert result.total.low <= sum(truth.values()) <= result.total.high
    assert result.total.high - result.total.low > COUNTS.total(Measure.MATCHED_PAIRS) / 2


def test_a_sample_that_is_kept_to_its_last_pair_leaves_room_for_one_that_is_not():
    rows = 400
    sampled = Chances(
        ["en"],
        np.arange(rows),
        np.zeros(rows, np.int64),
        captions=np.ones(rows),
        kept=np.ones(rows),
        inclusion=np.full(rows, 0.01),
    )
    result = estimate_pairs(sampled, matched={"en": 40_000}, kept_matches={"en": 50_000}, matched_pairs=40_000)
    for pairs in (result.by_language["en"], result.total):
        assert pairs.mean == 40_000
        assert 0.97 * 40_000 <= pairs.low < pairs.high == 40_000
