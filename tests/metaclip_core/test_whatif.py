import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metaclip_core.balancing import thresholds
from metaclip_core.inclusion import inclusion_rates, sample_pairs
from metaclip_core.sampling import ProbabilityTables, expected_kept
from metaclip_core.whatif import what_if
from tests.annotated_pools import counts_of, pool_of, pools


def asked(pool, *, num_pairs=1_000, **dial):
    counts = counts_of(pool)
    t = thresholds(counts.matches, **dial).t
    return what_if(counts, t, [sample_pairs(pool, inclusion_rates(counts, num_pairs=num_pairs))])


def slow_exact(counts, t):
    """(matches, kept matches, unmatched, tail, head) of a language, entry by entry."""
    unmatched = tail = head = matches = kept = 0
    for count in counts.tolist():
        matches += count
        kept += min(count, t)
        if not count:
            unmatched += 1
        elif count < t:
            tail += 1
        else:
            head += 1
    return matches, kept, unmatched, tail, head


def exact(outlook):
    entries = outlook.unmatched_entries, outlook.tail_entries, outlook.head_entries
    return outlook.matches, outlook.kept_matches, *entries


@settings(max_examples=50)
@given(pools, st.floats(0, 1))
def test_exact_columns_of_any_pool_are_those_of_a_loop_over_its_entries_and_add_up(pool, p):
    counts = counts_of(pool).matches
    result = asked(pool, p=p)
    assert set(result.languages) == {language for language in counts if counts[language].any()}
    for language, outlook in result.languages.items():
        assert exact(outlook) == slow_exact(counts[language], result.t[language])
    sums = [exact(outlook) for outlook in result.languages.values()]
    assert exact(result.total) == tuple(np.sum(sums, axis=0) if sums else [0] * 5)


@settings(max_examples=50)
@given(pools, st.integers(1, 30), st.floats(0, 1))
def test_there_are_never_more_pairs_than_kept_matches_nor_more_of_these_than_matches(pool, num_pairs, p):
    result = asked(pool, num_pairs=num_pairs, p=p)
    for outlook in result.languages.values():
        assert outlook.pairs.mean <= outlook.kept_matches <= outlook.matches


@settings(max_examples=50)
@given(pools, st.floats(0, 1), st.floats(0, 1))
def test_a_larger_tail_share_keeps_no_less(pool, one, other):
    less, more = (asked(pool, p=p) for p in sorted([one, other]))
    for language, outlook in less.languages.items():
        assert outlook.kept_matches <= more.languages[language].kept_matches
        assert outlook.pairs.mean <= more.languages[language].pairs.mean + 1e-9


@settings(max_examples=50)
@given(pools, st.integers(1, 12))
def test_english_share_is_that_of_the_expected_draw(pool, t_en):
    counts = counts_of(pool)
    assume(counts.matches["en"].any())
    result = asked(pool, t_en=t_en)
    expected = expected_kept(pool, ProbabilityTables(counts.matches, result.t))
    assert result.english_share == pytest.approx(expected["en"] / sum(expected.values()))


def test_a_pair_with_two_tail_entries_is_two_kept_matches_and_one_pair():
    result = asked(pool_of([[("de", [0, 1])], [("de", [2])], [("de", [2])]]), p=0.5)
    outlook = result.languages["de"]
    assert result.t["de"] == 1  # two entries of one match, and one of two
    assert (outlook.matches, outlook.kept_matches) == (4, 3)
    assert (outlook.tail_entries, outlook.head_entries, outlook.unmatched_entries) == (0, 3, 6)
    assert outlook.pairs.mean == 1 + 2 * 0.5
    assert (outlook.pairs.low, outlook.pairs.high) == (0, 3)


def test_an_entry_with_as_many_matches_as_t_is_head_and_still_kept_whole():
    result = asked(pool_of([[("en", [0])], [("en", [0])], [("en", [1])]]), t_en=2)
    outlook = result.languages["en"]
    assert (outlook.head_entries, outlook.tail_entries) == (1, 1)
    assert outlook.kept_matches == 3
    assert (outlook.pairs.low, outlook.pairs.mean, outlook.pairs.high) == (3, 3, 3)


def test_languages_stand_by_their_matches_and_those_without_any_are_left_out():
    result = asked(pool_of([[("ja", [0]), ("sw", [1])], [("sw", [1, 2])], [("de", [])], [("other", [])]]), p=0.1)
    assert list(result.languages) == ["sw", "ja"]


def test_a_pool_without_english_has_no_english_share():
    assert asked(pool_of([[("ja", [0])]]), p=0.1).english_share == 0
