import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.scores import ScoreError, as_scores, judge_scores

score = st.none() | st.floats(0, 1, width=32)


@pytest.mark.parametrize(
    "as_given", [list, tuple, lambda given: np.array([math.nan if x is None else x for x in given])]
)
@given(given=st.lists(score))
def test_scores_of_any_form_are_taken_as_they_are(as_given, given):
    scores = as_scores(as_given(given), num_rows=len(given))
    assert scores.type == pa.float32()
    assert scores.to_pylist() == given


def test_nan_is_no_score():
    assert as_scores([0.5, math.nan, None], num_rows=3).to_pylist() == [0.5, None, None]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([0.5], "1 scores for 2 rows"),
        ([], "0 scores for 2 rows"),
        ([0.5, "high"], "no list of numbers"),
        ("ab", "no list of numbers"),
        (None, "no list of numbers"),
        (0.5, "no list of numbers"),
        ({"a": 1, "b": 2}, "no list of numbers"),
        (np.zeros((2, 2)), "no list of numbers"),
        (np.array([1j, 1j]), "no list of numbers"),
        ([0.5, 3.25], "a score of 3.25, which is not in"),
        ([-0.1, 0.5], "a score of -0.1, which is not in"),
        ([math.inf, 0.5], "a score of inf, which is not in"),
    ],
)
def test_what_is_no_score_for_each_row_is_refused(given, message):
    with pytest.raises(ScoreError, match=message):
        as_scores(given, num_rows=2)


def judged(scores, *, drop_above=None, drop_below=None):
    return judge_scores(pa.array(scores, pa.float32()), drop_above=drop_above, drop_below=drop_below).to_pylist()


def test_scores_beyond_a_threshold_are_held_back_and_those_equal_to_it_pass():
    scores = [0.0, 0.3, 0.31, 1.0, None]
    assert judged(scores, drop_above=0.3) == [None, None, "score_above", "score_above", "unscored"]
    assert judged(scores, drop_below=0.3) == ["score_below", None, None, None, "unscored"]


@given(st.lists(score), st.floats(0, 1))
def test_a_pair_is_judged_by_its_own_score(scores, threshold):
    expected = ["unscored" if x is None else "score_above" if x > np.float32(threshold) else None for x in scores]
    assert judged(scores, drop_above=threshold) == expected
