import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.balancing import head_tail
from metaclip_core.card.entries import entry_facts

counts_lists = st.lists(st.integers(0, 30), min_size=1, max_size=40)


@given(counts_lists, st.integers(1, 40), st.integers(1, 8))
def test_facts_of_any_counts_are_those_of_a_loop_over_the_entries(counts, t, num_shown):
    facts = entry_facts(np.array(counts), t=t, num_shown=num_shown)
    mentioned = {entry: count for entry, count in enumerate(counts) if count}
    by_size = sorted(mentioned.items(), key=lambda item: (-item[1], item[0]))
    assert facts.entries == len(counts)
    assert facts.mentioned == len(mentioned)
    assert facts.matches == sum(counts)
    assert facts.tail == sum(count < t for count in mentioned.values())
    assert facts.tail_matches == sum(count for count in counts if count < t)
    assert facts.kept_matches == sum(min(count, t) for count in counts)
    assert facts.top == by_size[:num_shown]
    assert set(facts.unmentioned) <= set(range(len(counts))) - set(mentioned)
    assert facts.unmentioned == sorted(set(facts.unmentioned))
    assert len(facts.unmentioned) == min(num_shown, len(counts) - len(mentioned))
    if mentioned:
        split = head_tail(counts, t=t)
        assert (facts.tail, facts.mentioned - facts.tail) == (split.tail_entries, split.head_entries)
        assert facts.curve[0] == (1, by_size[0][1])
        assert facts.curve[-1] == (len(mentioned), by_size[-1][1])
    assert all(by_size[rank - 1][1] == count for rank, count in facts.curve)


def test_curve_of_many_entries_has_few_points():
    facts = entry_facts(np.arange(100_000), t=9, num_shown=3)
    assert 40 < len(facts.curve) <= 60
    assert facts.unmentioned == [0]


def test_unmentioned_entries_are_shown_from_the_first_to_the_last():
    assert entry_facts(np.zeros(101, np.int64), t=None, num_shown=3).unmentioned == [0, 50, 100]


def test_language_without_entries_or_matches_has_facts_without_numbers():
    for counts in ([], [0, 0]):
        facts = entry_facts(np.array(counts, np.int64), t=None, num_shown=5)
        assert (facts.entries, facts.mentioned, facts.tail, facts.kept_matches) == (len(counts), 0, 0, 0)
        assert (facts.curve, facts.top) == ([], [])
