import itertools
import logging
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from metaclip_core.balancing import (
    entry_probabilities,
    head_tail,
    p_to_t,
    pair_probabilities,
    pair_probability,
    shared,
    t_to_p,
    thresholds,
)

counts_lists = st.lists(st.integers(0, 60), min_size=1, max_size=30).filter(any)


def slow_t_to_p(counts, t):
    return Fraction(sum(count for count in counts if count < t), sum(counts))


def slow_p_to_t(counts, p):
    best, best_distance, mass = None, None, 0
    for count in sorted(counts):
        mass += count
        distance = abs(mass / sum(counts) - p)
        if best_distance is None or distance < best_distance:
            best, best_distance = count, distance
    return max(1, best)


@given(counts_lists, st.integers(1, 70))
def test_t_to_p_on_any_counts_equals_the_exact_share(counts, t):
    assert t_to_p(counts, t) == float(slow_t_to_p(counts, t))


def test_t_to_p_at_an_entrys_own_count_leaves_that_entry_out():
    assert t_to_p([10, 20, 70], 20) == 0.1
    assert t_to_p([10, 20, 70], 21) == 0.3


def test_head_tail_puts_an_entry_with_t_matches_into_the_head_and_leaves_out_unmatched_ones():
    split = head_tail([0, 1, 2, 3, 94], t=3)
    assert (split.head_entries, split.tail_entries) == (2, 2)
    assert split.tail_share == pytest.approx(0.03)


def test_head_tail_without_matches_is_refused():
    with pytest.raises(ValueError, match="no entry has a match"):
        head_tail([0, 0], t=1)


@given(counts_lists, st.floats(0, 1))
def test_p_to_t_on_any_counts_equals_the_linear_search(counts, p):
    assert p_to_t(counts, p) == slow_p_to_t(counts, p)


@pytest.mark.parametrize(
    ("counts", "p", "expected"),
    [
        ([1, 3, 4], 0.125, 1),  # shares 1/8, 4/8, 8/8
        ([4, 1, 3], 0.5, 3),
        ([1, 3, 4], 1.0, 4),
        ([1, 3, 4], 0.3125, 1),  # equally near to 1/8 and 4/8: the first
        ([0, 0, 5], 0.0, 1),  # the nearest count is 0, and t is at least 1
        ([7], 0.06, 7),  # a language with one entry
        ([7, 0], 0.06, 1),  # of two, one never matched: its share is 0, nearer to p than 1
    ],
)
def test_p_to_t_of_hand_made_counts_is_the_count_with_the_nearest_share(counts, p, expected):
    assert p_to_t(counts, p) == expected


@given(st.lists(st.integers(1, 10**6), min_size=1, max_size=40, unique=True), st.data())
def test_p_to_t_of_the_share_up_to_an_entry_gives_that_entrys_count(counts, data):
    t = data.draw(st.sampled_from(counts))
    assert p_to_t(counts, t_to_p(counts, t + 1)) == t


def test_p_to_t_of_counts_beyond_32_bits_does_not_overflow():
    counts = np.array([2**40, 2**41, 2**60], dtype=np.int64)
    assert p_to_t(counts, 1.0) == 2**60
    assert t_to_p(counts, 2**60) == pytest.approx(3 * 2**40 / (2**60 + 3 * 2**40))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint8])
def test_counts_of_any_integer_type_are_never_modified(dtype):
    counts = np.array([5, 0, 200, 7], dtype=dtype)
    before = counts.copy()
    counts.flags.writeable = False
    t_to_p(counts, 6)
    p_to_t(counts, 0.5)
    probabilities = entry_probabilities(counts, 6)
    probabilities[:] = 0
    assert (counts == before).all()


def test_entry_probabilities_around_the_threshold_keep_the_tail_and_thin_the_head():
    assert entry_probabilities([0, 1, 19, 20, 40, 2_000], 20).tolist() == [1, 1, 1, 1, 0.5, 0.01]


@given(counts_lists, st.integers(1, 70))
def test_entry_probabilities_times_counts_never_exceed_the_threshold(counts, t):
    expected_pairs = entry_probabilities(counts, t) * counts
    assert (expected_pairs <= t + 1e-9).all()
    assert (expected_pairs[np.array(counts) <= t] == np.array(counts)[np.array(counts) <= t]).all()


def test_pair_probability_without_a_match_is_zero():
    assert pair_probability([0.5], []) == 0


def test_pair_probability_of_three_entries_equals_the_share_of_simulated_coin_flips():
    probabilities = np.array([0.9, 0.1, 0.25, 0.02])
    rng = np.random.default_rng(0)
    kept = (rng.random((200_000, 3)) < probabilities[[1, 2, 3]]).any(axis=1).mean()
    assert pair_probability(probabilities, [1, 2, 3]) == pytest.approx(kept, abs=4 * math.sqrt(0.25 / 200_000))


@given(
    st.lists(st.floats(0, 1) | st.just(1.0), min_size=1, max_size=8),
    st.lists(st.lists(st.integers(0, 7), max_size=5), max_size=12),
    st.integers(0, 3),
)
def test_pair_probabilities_of_any_layout_equal_the_scalar_form(probabilities, pairs, num_before):
    pairs = [[entry for entry in pair if entry < len(probabilities)] for pair in pairs]
    before = [0] * num_before  # a sliced Arrow list array starts anywhere in its values
    flat = [*before, *(entry for pair in pairs for entry in pair), 0]
    offsets = np.cumsum([num_before, *map(len, pairs)])
    got = pair_probabilities(np.array(probabilities), flat, offsets)
    assert got == pytest.approx([pair_probability(probabilities, pair) for pair in pairs], rel=1e-12, abs=1e-15)
    for pair, probability in zip(pairs, got, strict=True):
        if not pair:
            assert probability == 0.0
        if any(probabilities[entry] == 1.0 for entry in pair):
            assert probability == 1.0


@given(
    st.lists(st.lists(st.floats(0, 1), min_size=1, max_size=4), min_size=1, max_size=4),
    st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=5)), max_size=12),
)
def test_pair_probabilities_of_several_languages_equal_those_of_each_alone(tables, pairs):
    starts = np.cumsum([0, *map(len, tables)])
    chosen = [table % len(tables) for table, _ in pairs]
    ids = [[entry % len(tables[table]) for entry in pair] for table, (_, pair) in zip(chosen, pairs, strict=True)]
    flat, offsets = np.array([*itertools.chain(*ids)], np.int32), np.cumsum([0, *map(len, ids)])
    got = pair_probabilities(np.concatenate(tables), flat, offsets, starts=starts[np.array(chosen, int)])
    alone = [
        pair_probabilities(tables[table], pair, [0, len(pair)])[0] for table, pair in zip(chosen, ids, strict=True)
    ]
    assert got.tolist() == alone


def test_pair_probabilities_over_several_blocks_equal_those_of_each_part():
    rng = np.random.default_rng(0)
    probabilities, lengths = rng.random(50), rng.integers(0, 4, 20_000)
    offsets = np.cumsum([0, *lengths])
    ids = rng.integers(0, 50, offsets[-1])
    whole = pair_probabilities(probabilities, ids, offsets)
    parts = [
        pair_probabilities(probabilities, ids, offsets[start : start + 1_001]) for start in range(0, 20_000, 1_000)
    ]
    assert np.array_equal(whole, np.concatenate(parts))
    with pytest.raises(ValueError, match="ids"):
        pair_probabilities(probabilities, [*ids[:-1], 50], offsets)


def test_pair_probabilities_with_empty_pairs_at_both_ends_and_between_are_zero_there():
    got = pair_probabilities([0.5, 1.0], [0, 1, 0, 0], [0, 0, 1, 1, 2, 4, 4])
    assert got.tolist() == [0, 0.5, 0, 1, 0.75, 0]


def test_pair_probabilities_of_no_pairs_and_of_pairs_without_entries_have_their_shape():
    assert pair_probabilities([0.5], [], [0]).shape == (0,)
    assert pair_probabilities([], [], [0, 0, 0]).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("entry_ids", "offsets"),
    [([0, 2], [0, 2]), ([-1], [0, 1]), ([0], [0, 2]), ([0, 0], [2, 0]), ([0], []), ([0], [-1, 1])],
)
def test_pair_probabilities_of_an_impossible_layout_are_refused(entry_ids, offsets):
    with pytest.raises(ValueError, match=r"ids|offsets"):
        pair_probabilities([0.5, 0.5], entry_ids, offsets)


@pytest.mark.parametrize("counts", [[-1, 2], [0.5, 1.0], [[1, 2]]])
def test_counts_that_are_no_counts_are_refused_everywhere(counts):
    for call in (lambda: t_to_p(counts, 1), lambda: p_to_t(counts, 0.5), lambda: entry_probabilities(counts, 1)):
        with pytest.raises(ValueError, match="counts"):
            call()


@pytest.mark.parametrize("counts", [[], [0, 0]])
def test_thresholds_of_counts_without_a_match_are_refused(counts):
    for call in (lambda: t_to_p(counts, 1), lambda: p_to_t(counts, 0.5)):
        with pytest.raises(ValueError, match="no entry has a match"):
            call()


@pytest.mark.parametrize("t", [0, -3, math.nan])
def test_a_threshold_below_one_is_refused(t):
    for call in (lambda: t_to_p([1], t), lambda: entry_probabilities([1], t), lambda: thresholds({"en": [1]}, t_en=t)):
        with pytest.raises(ValueError, match="at least 1"):
            call()


@pytest.mark.parametrize("p", [-0.01, 1.01, math.nan])
def test_a_tail_share_outside_zero_and_one_is_refused(p):
    for call in (lambda: p_to_t([1], p), lambda: thresholds({"en": [1]}, p=p), lambda: thresholds({}, p=p)):
        with pytest.raises(ValueError, match="p must lie"):
            call()


def test_thresholds_from_t_en_pass_the_english_tail_share_on():
    counts = {"en": [10, 20, 70], "de": [1, 9, 90], "fr": [3]}
    result = thresholds(counts, t_en=20)
    assert result.p == 0.1
    assert result.t == {"en": 20, "de": 9, "fr": 3}
    assert result.warnings == ()


def test_thresholds_from_t_en_between_counts_leave_it_as_given():
    assert thresholds({"en": [10, 20, 70]}, t_en=33).t == {"en": 33}


def test_thresholds_from_p_treat_english_like_all_others():
    result = thresholds({"en": [10, 20, 70], "de": [1, 9, 90]}, p=0.3)
    assert result.p == 0.3
    assert result.t == {"en": 20, "de": 9}


def test_thresholds_leave_out_a_language_without_matches():
    assert thresholds({"en": [1], "de": [0, 0], "fr": []}, p=0.06).t == {"en": 1}


@pytest.mark.parametrize("counts", [{"de": [1]}, {"en": [0], "de": [1]}, {"en": []}])
def test_thresholds_from_t_en_without_english_matches_ask_for_p(counts):
    with pytest.raises(ValueError, match="give p"):
        thresholds(counts, t_en=20)


@pytest.mark.parametrize("given_values", [{}, {"p": 0.06, "t_en": 20}])
def test_thresholds_from_none_or_both_of_p_and_t_en_are_refused(given_values):
    with pytest.raises(ValueError, match="exactly one"):
        thresholds({"en": [1]}, **given_values)


def test_thresholds_with_t_en_above_every_english_count_warn_that_nothing_is_balanced(caplog):
    with caplog.at_level(logging.WARNING):
        result = thresholds({"en": [1, 5], "de": [2, 9]}, t_en=6)
    assert result.p == 1
    assert result.t == {"en": 6, "de": 9}
    assert len(result.warnings) == 1
    assert result.warnings[0] in caplog.text
    assert thresholds({"en": [1, 5]}, t_en=5).warnings == ()


@given(st.dictionaries(st.sampled_from(["en", "de", "ja"]), counts_lists, min_size=1), st.floats(0, 1))
def test_thresholds_from_p_are_an_observed_count_of_each_language(counts, p):
    for language, t in thresholds(counts, p=p).t.items():
        assert t in counts[language] or t == 1


@given(counts_lists, st.integers(1, 70))
def test_expected_matches_by_entry_with_a_threshold_keep_their_order(counts, t):
    assume(len(counts) > 1)
    expected = entry_probabilities(sorted(counts), t) * np.sort(counts)
    assert (np.diff(expected) >= -1e-9).all()


def test_shared_threshold_is_that_of_english_for_every_language():
    counts = {"en": [10, 20, 70], "de": [1, 2, 3], "fr": [5]}
    computed = thresholds(counts, t_en=20)
    found = shared(computed)
    assert found.t == {"en": 20, "de": 20, "fr": 20}
    assert found.p == computed.p
    assert computed.t["de"] != 20


def test_shared_threshold_without_english_is_refused():
    with pytest.raises(ValueError, match="no English matches"):
        shared(thresholds({"de": [1, 2]}, p=0.5))
