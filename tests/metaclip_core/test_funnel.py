import json

from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage

STAGES = ["read", "captions", "match"]
REASONS = ["no_image", "no_caption", "no_match"]
arrivals = st.tuples(st.sampled_from(STAGES), st.none() | st.sampled_from(REASONS), st.integers(1, 5))
histories = st.lists(arrivals, max_size=30)


def filled(history):
    """`rows` rows arrive at a stage at a time; all of them are dropped for the reason, or none is."""
    funnel = Funnel()
    for stage, reason, rows in history:
        funnel.enter(stage, rows)
        if reason is not None:
            funnel.drop(stage, reason, rows)
    return funnel


def lines(funnel):
    return {record["stage"]: record for record in funnel.to_records()}


@settings(deadline=None)
@given(histories)
def test_records_of_any_history_equal_sums_over_it(history):
    found = lines(filled(history))
    assert set(found) == {stage for stage, _, _ in history}
    for stage, record in found.items():
        here = [(reason, rows) for at, reason, rows in history if at == stage]
        assert record["rows_in"] == sum(rows for _, rows in here)
        assert record["rows_out"] == sum(rows for reason, rows in here if reason is None)
        expected = {r: sum(rows for reason, rows in here if reason == r) for r in REASONS}
        assert record["dropped"] == {reason: rows for reason, rows in expected.items() if rows}


@settings(deadline=None)
@given(st.lists(histories, max_size=5), st.randoms(use_true_random=False))
def test_funnels_of_shards_add_up_to_that_of_the_pool_in_any_order(shards, random):
    whole = filled([arrival for shard in shards for arrival in shard])
    random.shuffle(shards)
    added = Funnel()
    for shard in shards:
        added.add(filled(shard))
    assert lines(added) == lines(whole)


@settings(deadline=None)
@given(histories)
def test_funnel_through_json_is_the_same(history):
    funnel = filled(history)
    assert Funnel.from_json(funnel.to_json()).to_records() == funnel.to_records()


def test_add_leaves_the_other_funnel_as_it_is():
    one, other = filled([("read", "no_image", 2)]), filled([("read", None, 3)])
    other_before = other.to_records()
    one.add(other).enter("read")
    assert other.to_records() == other_before


def test_a_stage_that_nothing_reached_has_a_line_of_zeros():
    funnel = Funnel()
    funnel.enter(Stage.DEDUPLICATE, 0)
    assert funnel.to_records() == [{"stage": "deduplicate", "rows_in": 0, "rows_out": 0, "dropped": {}}]


def test_stages_stand_in_the_order_in_which_rows_arrived():
    assert list(lines(filled([("match", None, 1), ("read", None, 1), ("match", None, 1)]))) == ["match", "read"]


def test_stages_and_reasons_given_as_enums_are_plain_words_in_json():
    funnel = Funnel()
    funnel.enter(Stage.READ, 4)
    funnel.drop(Stage.READ, DropReason.NO_IMAGE)
    assert json.loads(funnel.to_json()) == [{"stage": "read", "rows_in": 4, "rows_out": 3, "dropped": {"no_image": 1}}]


def test_rows_out_of_a_stage_that_was_never_reached_is_zero_and_adds_no_line():
    funnel = Funnel()
    assert funnel.rows_out("read") == 0
    assert funnel.to_records() == []
