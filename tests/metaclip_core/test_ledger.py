import io
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.ledger import LEDGER, Item, Ledger, LedgerError, finished_items
from metaclip_core.positions import Positions

NUM_SHARDS = 5
ORDER = Positions(NUM_SHARDS, seed=7)
MAX_RANKS = 3


def located(positions):
    return ORDER.locate(np.asarray(positions, np.int64))


def consume(ledger, position, rows):
    epochs, shards = located([position] * len(rows))
    ledger.consume(epochs, shards, np.asarray(rows, np.int64))


def fail(ledger, position, rows, reason="image_broken"):
    epochs, shards = located([position] * len(rows))
    ledger.fail(epochs, shards, np.asarray(rows, np.int64), [reason] * len(rows))


def close(ledger, position, num_drawn):
    epochs, shards = located([position])
    ledger.close(epochs, shards, np.array([num_drawn]))


def compact(ledgers):
    """What the ranks do together when they write a checkpoint."""
    done = finished_items([ledger.open_items() for ledger in ledgers])
    for ledger in ledgers:
        ledger.retire(done)
    ledgers[0].finish(done)


def stored(ledger):
    """The ledger after a trip through a file."""
    buffer = io.BytesIO()
    pq.write_table(ledger.to_table(), buffer, compression="zstd")
    buffer.seek(0)
    return Ledger.from_table(pq.read_table(buffer))


def finished_positions(ledger):
    return {position for start, stop in ledger.finished for position in range(start, stop)}


class Oracle:
    """The same truth as plain sets: nothing is packed, nothing is forgotten."""

    def __init__(self):
        self.consumed = {}
        self.failed = {}
        self.drawn = {}

    def ended(self, position):
        return self.consumed.get(position, set()) | self.failed.get(position, set())

    def is_finished(self, position):
        return position in self.drawn and len(self.ended(position)) == self.drawn[position]

    @property
    def known(self):
        return set(self.consumed) | set(self.failed) | set(self.drawn)

    @property
    def frontier(self):
        return max(self.known, default=-1) + 1

    def pending(self):
        return [position for position in range(self.frontier) if not self.is_finished(position)]


@st.composite
def histories(draw):
    """Drawn rows of some items, and operations that end a part of them: (rank, what, position, rows), in any order."""
    drawn = draw(
        st.dictionaries(st.integers(0, 14), st.sets(st.integers(0, 40), max_size=6), min_size=1, max_size=8),
    )
    operations = []
    for position, rows in drawn.items():
        for row in sorted(rows):
            fate = draw(st.sampled_from(["consume", "consume", "consume", "fail", "none"]))
            if fate != "none":
                operations.append((draw(st.integers(0, MAX_RANKS - 1)), fate, position, row))
        if draw(st.booleans()):
            operations.append((draw(st.integers(0, MAX_RANKS - 1)), "close", position, len(rows)))
    operations += [(0, "compact", 0, 0)] * draw(st.integers(0, 3))
    return draw(st.permutations(operations))


def replay(operations, num_ranks=MAX_RANKS):
    """A ledger for each rank and the oracle of all, after the operations."""
    ledgers, oracle = [Ledger(ORDER) for _ in range(num_ranks)], Oracle()
    for rank, what, position, value in operations:
        ledger = ledgers[rank % num_ranks]
        if what == "compact":
            compact(ledgers)
        elif what == "close":
            close(ledger, position, value)
            oracle.drawn[position] = value
        elif what == "consume":
            consume(ledger, position, [value])
            oracle.consumed.setdefault(position, set()).add(value)
        else:
            fail(ledger, position, [value])
            oracle.failed.setdefault(position, set()).add(value)
    return ledgers, oracle


def assert_equals(ledger, oracle):
    assert finished_positions(ledger) == {position for position in oracle.known if oracle.is_finished(position)}
    assert ledger.frontier == oracle.frontier
    assert ledger.pending().tolist() == oracle.pending()
    assert ledger.totals.consumed == sum(map(len, oracle.consumed.values()))
    assert ledger.totals.failed.total() == sum(map(len, oracle.failed.values()))
    rows = np.arange(50)
    for position in range(oracle.frontier + 2):
        expected = [oracle.is_finished(position) or row in oracle.ended(position) for row in rows.tolist()]
        assert ledger.has_ended(position, rows).tolist() == expected
        backwards = rows[::-1]
        assert ledger.has_ended(position, backwards).tolist() == expected[::-1]


@settings(max_examples=40, deadline=None)
@given(histories())
def test_ledgers_after_any_history_merge_to_what_plain_sets_hold(operations):
    ledgers, oracle = replay(operations)
    assert_equals(Ledger.merge([stored(ledger) for ledger in ledgers]), oracle)


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 30), st.integers(1, MAX_RANKS))
def test_ledgers_across_a_restart_with_other_ranks_merge_to_what_plain_sets_hold(operations, cut, num_ranks):
    before, _ = replay(operations[:cut])
    merged = Ledger.merge([stored(ledger) for ledger in before])
    ledgers = [merged, *(Ledger(ORDER) for _ in range(num_ranks - 1))]
    for rank, what, position, value in operations[cut:]:
        ledger = ledgers[rank % num_ranks]
        if what == "compact":
            compact(ledgers)
        else:
            {"close": close, "consume": _consume_one, "fail": _fail_one}[what](ledger, position, value)
    _, oracle = replay(operations)
    assert_equals(Ledger.merge([stored(ledger) for ledger in ledgers]), oracle)


def _consume_one(ledger, position, row):
    consume(ledger, position, [row])


def _fail_one(ledger, position, row):
    fail(ledger, position, [row])


@settings(max_examples=40, deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.integers(1, MAX_RANKS))
def test_digest_of_one_content_is_equal_whatever_the_order_the_ranks_and_the_compaction(operations, random, num_ranks):
    shuffled = [operation for operation in operations if operation[1] != "compact"]
    random.shuffle(shuffled)
    one = Ledger.merge(replay(operations)[0])
    other = Ledger.merge(replay(shuffled, num_ranks)[0])
    assert one.digest() == other.digest() == stored(one).digest()


@settings(max_examples=40, deadline=None)
@given(histories(), histories())
def test_digests_of_two_histories_are_equal_exactly_when_their_contents_are(one, other):
    def content(operations):
        ledger = Ledger.merge(replay(operations)[0])
        items = {position: (item.consumed, item.failed, item.drawn) for position, item in ledger.items.items()}
        return ledger.digest(), (finished_positions(ledger), items)

    one_digest, one_content = content(one)
    other_digest, other_content = content(other)
    assert (one_digest == other_digest) == (one_content == other_content)


def test_digest_of_every_small_difference_differs():
    def made(*steps, order=ORDER):
        ledger = Ledger(order)
        for step in steps:
            step(ledger)
        return ledger.digest()

    digests = [
        made(),
        made(lambda ledger: consume(ledger, 0, [0])),
        made(lambda ledger: consume(ledger, 1, [0])),
        made(lambda ledger: consume(ledger, 0, [1])),
        made(lambda ledger: consume(ledger, 0, [8])),
        made(lambda ledger: fail(ledger, 0, [0])),
        made(lambda ledger: consume(ledger, 0, [0]), lambda ledger: close(ledger, 0, 2)),
        made(lambda ledger: consume(ledger, 0, [0]), lambda ledger: close(ledger, 0, 3)),
        made(lambda ledger: close(ledger, 0, 0)),
        made(lambda ledger: ledger.finish([0])),
        made(lambda ledger: ledger.finish([0, 1])),
        made(lambda ledger: ledger.finish([0, 2])),
        made(order=Positions(NUM_SHARDS, seed=8)),
        made(order=Positions(NUM_SHARDS + 1, seed=7)),
    ]
    assert len(set(digests)) == len(digests)
    assert all(-(2**63) <= digest < 2**63 for digest in digests)  # it travels in an int64 column


@settings(max_examples=40, deadline=None)
@given(histories(), st.integers(0, 25))
def test_agenda_visits_every_unfinished_position_once_and_then_new_ones(operations, num_steps):
    ledgers, oracle = replay(operations)
    agenda = Ledger.merge(ledgers).agenda(np.arange(num_steps)).tolist()
    unfinished = (position for position in range(10**6) if not oracle.is_finished(position))
    assert agenda == [next(unfinished) for _ in range(num_steps)]


@settings(max_examples=40, deadline=None)
@given(histories(), st.lists(st.integers(0, 100), max_size=20))
def test_agenda_of_scattered_steps_equals_those_of_the_whole_agenda(operations, steps):
    ledger = Ledger.merge(replay(operations)[0])
    whole = ledger.agenda(np.arange(101))
    assert ledger.agenda(np.array(steps, np.int64)).tolist() == [int(whole[step]) for step in steps]


@pytest.mark.parametrize("first", [consume, fail])
@pytest.mark.parametrize("second", [consume, fail])
def test_a_row_that_ends_twice_is_an_error_that_names_it(first, second):
    ledger = Ledger(ORDER)
    first(ledger, 3, [4, 6])
    epochs, shards = located([3])
    with pytest.raises(LedgerError, match=f"row 6 of epoch {epochs[0]}, shard {shards[0]}"):
        second(ledger, 3, [5, 6])


@pytest.mark.parametrize("end", [consume, fail])
def test_a_row_twice_in_one_batch_is_an_error(end):
    with pytest.raises(LedgerError, match=r"row 2 .* twice in one batch"):
        end(Ledger(ORDER), 0, [2, 3, 2])


def test_the_same_row_number_of_other_items_is_no_repetition():
    ledger = Ledger(ORDER)
    epochs, shards = located(np.arange(3 * NUM_SHARDS))
    ledger.consume(epochs, shards, np.full(len(epochs), 9))
    assert ledger.totals.consumed == 3 * NUM_SHARDS


@pytest.mark.parametrize(
    "touch",
    [
        lambda ledger: consume(ledger, 2, [9]),
        lambda ledger: fail(ledger, 2, [9]),
        lambda ledger: close(ledger, 2, 1),
        lambda ledger: ledger.finish([2]),
    ],
)
def test_anything_that_comes_after_an_item_is_finished_is_an_error(touch):
    ledger = Ledger(ORDER)
    ledger.finish([2])
    with pytest.raises(LedgerError):
        touch(ledger)


def test_close_with_the_same_number_again_is_what_a_restart_brings():
    ledger = Ledger(ORDER)
    close(ledger, 0, 3)
    close(ledger, 0, 3)
    assert ledger.items[0].drawn == 3


def test_an_item_that_is_read_again_is_not_finished_before_its_closing_tombstone_came_again():
    before = Ledger(ORDER)
    consume(before, 3, [0])
    close(before, 3, 2)
    ranks = [Ledger.merge([stored(before)]), Ledger(ORDER)]
    consume(ranks[1], 3, [1])
    compact(ranks)
    assert 3 in ranks[0].items
    close(ranks[1], 3, 2)  # it was on its way to the other rank
    compact(ranks)
    assert finished_positions(Ledger.merge([stored(rank) for rank in ranks])) == {3}


def test_an_item_of_which_all_ended_but_not_its_closing_tombstone_is_not_read_again():
    before = Ledger(ORDER)
    consume(before, 3, [0])
    close(before, 3, 2)
    again = Ledger.merge([stored(before)])
    consume(again, 3, [1])
    assert 3 not in Ledger.merge([stored(again)]).pending()


def test_close_with_another_number_is_an_error():
    ledger = Ledger(ORDER)
    close(ledger, 0, 3)
    with pytest.raises(LedgerError, match="drew 4 rows, and 3 before"):
        close(ledger, 0, 4)


def test_close_of_an_item_that_drew_nothing_finishes_it():
    ledger = Ledger(ORDER)
    close(ledger, 0, 0)
    compact([ledger])
    assert finished_positions(ledger) == {0}
    assert not ledger.items


def ledger_of(*steps):
    ledger = Ledger(ORDER)
    for step in steps:
        step(ledger)
    return ledger


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda ledger: consume(ledger, 0, [1]), lambda ledger: consume(ledger, 0, [1])),
        (lambda ledger: consume(ledger, 0, [1]), lambda ledger: fail(ledger, 0, [1])),
        (lambda ledger: ledger.finish([0]), lambda ledger: ledger.finish([0])),
        (lambda ledger: ledger.finish([0]), lambda ledger: consume(ledger, 0, [1])),
        (lambda ledger: consume(ledger, 0, [1]), lambda ledger: ledger.finish([0])),
        (lambda ledger: close(ledger, 0, 1), lambda ledger: close(ledger, 0, 2)),
    ],
)
def test_merge_of_ranks_that_contradict_each_other_is_an_error(one, other):
    with pytest.raises(LedgerError):
        Ledger.merge([ledger_of(one), ledger_of(other)])


@pytest.mark.parametrize("order", [Positions(NUM_SHARDS, seed=8), Positions(NUM_SHARDS + 1, seed=7)])
def test_merge_of_ledgers_of_other_streams_is_an_error(order):
    with pytest.raises(LedgerError, match="different pools or seeds"):
        Ledger.merge([Ledger(ORDER), Ledger(order)])


def test_merge_leaves_the_ranks_ledgers_as_they_were():
    ranks = [ledger_of(lambda ledger: consume(ledger, 0, [1])), ledger_of(lambda ledger: consume(ledger, 0, [2]))]
    before = [rank.digest() for rank in ranks]
    merged = Ledger.merge(ranks)
    consume(merged, 0, [3])
    assert [rank.digest() for rank in ranks] == before


def test_reasons_of_failed_rows_survive_storage_and_merging():
    ranks = [Ledger(ORDER), Ledger(ORDER)]
    fail(ranks[0], 0, [1], "image_broken")
    fail(ranks[1], 0, [2, 3], "image_broken")
    fail(ranks[1], 1, [2], "image_pixels_over_limit")
    merged = Ledger.merge([stored(rank) for rank in ranks])
    assert merged.totals.failed == Counter(image_broken=3, image_pixels_over_limit=1)


def test_a_table_of_the_ledger_is_of_its_schema_and_sorted_by_position():
    ledger = ledger_of(lambda ledger: consume(ledger, 9, [70]), lambda ledger: fail(ledger, 4, [0]))
    ledger.finish([0, 1, 6])
    table = ledger.to_table()
    assert table.schema.equals(LEDGER)
    assert table["start"].to_pylist() == [0, 4, 6, 9]
    assert table["stop"].to_pylist() == [2, 5, 7, 10]


@pytest.mark.parametrize(
    "table",
    [
        LEDGER.empty_table(),
        pa.table({"start": [1]}),
        pa.table({"start": [1]}).replace_schema_metadata({"ledger": "{}"}),
    ],
)
def test_from_table_of_something_else_is_an_error(table):
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger.from_table(table)


def test_no_rows_change_nothing():
    ledger = Ledger(ORDER)
    nothing = np.empty(0, np.int64)
    ledger.consume(nothing, nothing, nothing)
    ledger.fail(nothing, nothing, nothing, [])
    ledger.close(nothing, nothing, nothing)
    assert ledger.digest() == Ledger(ORDER).digest()
    assert ledger.has_ended(0, nothing).tolist() == []


def test_has_ended_asks_for_rows_beyond_what_the_bitmap_holds():
    ledger = ledger_of(lambda ledger: consume(ledger, 0, [7, 8]))
    assert ledger.has_ended(0, np.array([7, 10**5, 8, 9])).tolist() == [True, False, True, False]
    assert ledger.has_ended(0, np.array([0])).tolist() == [False]


def test_ledger_of_two_thousand_large_half_consumed_items_is_stored_in_three_megabytes():
    num_items, num_rows = 2_000, 10_000
    order = Positions(num_items, seed=0)
    ledger = Ledger(order)
    random = np.random.default_rng(0)
    for position in range(num_items):  # the bits that `consume` would set, row by row
        bitmap = np.packbits(random.random(num_rows) < 0.5, bitorder="little")
        ledger.items[position] = Item(consumed=int.from_bytes(bitmap.tobytes(), "little"), drawn=num_rows)
    buffer = io.BytesIO()
    pq.write_table(ledger.to_table(), buffer, compression="zstd")
    assert buffer.tell() <= 3_000_000
    buffer.seek(0)
    assert Ledger.from_table(pq.read_table(buffer)).digest() == ledger.digest()


def test_ledger_of_many_finished_items_is_one_row():
    ledger = Ledger(ORDER)
    ledger.finish(np.random.default_rng(0).permutation(20_000).tolist())
    assert ledger.to_table().num_rows == 1
