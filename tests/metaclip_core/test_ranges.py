import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.ranges import Ranges

pieces = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 6)).map(lambda piece: (piece[0], sum(piece))), max_size=25
)


def filled(added):
    """The ranges and a plain set of the pieces that were added; those that overlap are refused by both."""
    ranges, oracle = Ranges(), set()
    for start, stop in added:
        piece = set(range(start, stop))
        if piece & oracle:
            with pytest.raises(ValueError, match="overlaps"):
                ranges.add(start, stop)
        else:
            ranges.add(start, stop)
            oracle |= piece
    return ranges, oracle


def runs(numbers):
    """Sorted numbers as maximal half-open runs, one step at a time."""
    result = []
    for number in sorted(numbers):
        if result and result[-1][1] == number:
            result[-1] = (result[-1][0], number + 1)
        else:
            result.append((number, number + 1))
    return result


@settings(deadline=None)
@given(pieces)
def test_ranges_of_any_pieces_are_the_maximal_runs_of_their_union(added):
    ranges, oracle = filled(added)
    assert list(ranges) == runs(oracle)
    assert ranges.stop == max(oracle, default=-1) + 1


@settings(deadline=None)
@given(pieces)
def test_covers_of_any_number_is_membership_in_the_union(added):
    ranges, oracle = filled(added)
    assert [number for number in range(-2, 50) if ranges.covers(number)] == sorted(oracle)


@settings(deadline=None)
@given(pieces, st.integers(0, 60))
def test_gaps_before_any_stop_are_the_numbers_that_are_missing(added, stop):
    ranges, oracle = filled(added)
    assert ranges.gaps(stop).tolist() == [number for number in range(stop) if number not in oracle]


@settings(deadline=None)
@given(st.permutations(range(12)))
def test_ranges_of_single_numbers_in_any_order_become_one_range(numbers):
    ranges = Ranges()
    for number in numbers:
        ranges.add(number)
    assert list(ranges) == [(0, 12)]


def test_a_refused_piece_leaves_the_set_as_it_was():
    ranges = Ranges()
    ranges.add(0, 3)
    ranges.add(5, 8)
    with pytest.raises(ValueError, match="overlaps"):
        ranges.add(3, 6)
    assert list(ranges) == [(0, 3), (5, 8)]


def test_empty_ranges_hold_nothing():
    ranges = Ranges()
    assert (list(ranges), ranges.stop, ranges.gaps(0).tolist()) == ([], 0, [])
    assert not ranges.covers(0)
