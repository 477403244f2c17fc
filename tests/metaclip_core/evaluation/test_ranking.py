import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.evaluation.ranking import NOWHERE, Tally, hits, wrong_ahead


def naive(similarity, right, there):
    """Sort all candidates, walk down to the first right one."""
    found = []
    for row, of_query in zip(similarity, right, strict=True):
        order = sorted((c for c in range(len(row)) if there[c]), key=lambda c: (-row[c], c))
        places = [place for place, c in enumerate(order) if of_query[c]]
        found.append(places[0] if places else NOWHERE)
    return found


@given(st.data())
def test_the_first_right_candidate_stands_where_a_sort_puts_it(data):
    queries, candidates = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6))
    few = st.integers(-2, 2)  # many ties
    similarity = np.array(data.draw(st.lists(few, min_size=queries * candidates, max_size=queries * candidates)))
    similarity = similarity.reshape(queries, candidates)
    bools = st.lists(st.booleans(), min_size=queries * candidates, max_size=queries * candidates)
    right = np.array(data.draw(bools)).reshape(queries, candidates)
    there = np.array(data.draw(st.lists(st.booleans(), min_size=candidates, max_size=candidates)))
    ahead = wrong_ahead(
        torch.from_numpy(similarity).double(),
        torch.eye(candidates, dtype=torch.float64),
        lambda rows: torch.from_numpy(right[rows]),
        there=torch.from_numpy(there),
    )
    assert ahead.tolist() == naive(similarity, right, there)


def test_hits_are_those_with_fewer_than_k_ahead_and_never_those_without_a_right_candidate():
    assert hits(torch.tensor([0, 1, 5, NOWHERE]), 2).tolist() == [1, 1, 0, 0]


def test_a_share_is_of_questions_and_not_of_images():
    assert Tally(np.array([2.0, 0.0]), np.array([3.0, 1.0])).share == pytest.approx(0.5)
