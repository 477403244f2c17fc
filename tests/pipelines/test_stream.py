import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.ledger import Ledger, LedgerError
from metaclip_core.positions import Positions
from metaclip_core.records import DropReason, SchemaError, example_schema
from pipelines.stream import ExampleStream, consume

IMAGE_SIZE = 1
SCHEMA = example_schema(IMAGE_SIZE)
ORDER = Positions(num_shards=4, seed=5)
LEDGER_ID = 77
WINDOW = 2  # positions


class OutOfWindowsError(Exception):
    """The test has no more windows to give."""


def located(position):
    epochs, shards = ORDER.locate([position])
    return {"epoch": int(epochs[0]), "shard": int(shards[0])}


def example(position, row):
    return {
        **located(position),
        "row": row,
        "pixels": bytes(3),
        "input_ids": [1],
        "language": "en",
        "ledger_id": LEDGER_ID,
    }


def broken(position, row):
    return {**located(position), "row": row, "ledger_id": LEDGER_ID, "drop_reason": DropReason.IMAGE_BROKEN.value}


def closing(position, num_drawn):
    end = {"row": -1, "ledger_id": LEDGER_ID, "drop_reason": DropReason.ITEM_END.value, "drawn_in_item": num_drawn}
    return {**located(position), **end}


def table_of(records):
    return pa.Table.from_pylist(records, SCHEMA)


def rows_of(table):
    """(position, row) of each example."""
    positions = ORDER.position(table["epoch"].to_numpy(), table["shard"].to_numpy())
    return list(zip(positions.tolist(), table["row"].to_pylist(), strict=True))


class Ranks:
    """Ranks in threads that answer each other, as an all-reduce does, and whose windows begin together, as Ray's do."""

    def __init__(self, num_ranks):
        self._barrier = threading.Barrier(num_ranks, timeout=10)
        self._opening = threading.Barrier(num_ranks, timeout=10)
        self._flags = [False] * num_ranks

    def opened(self, window):
        """The window's tables; its first is given when all ranks have asked for theirs."""
        self._opening.wait()
        yield from window

    def all_ready(self, rank):
        def ask(ready):
            self._flags[rank] = ready
            self._barrier.wait()
            answer = all(self._flags)
            self._barrier.wait()  # nobody asks again before all have read
            return answer

        return ask

    def abort(self):
        self._barrier.abort()
        self._opening.abort()


def stream_of(windows, ledger, *, batch_rows, all_ready, opened=iter):
    """A stream over hand-made windows, lists of tables each; it breaks off when there are no more."""

    def open_window(offset):
        assert offset % WINDOW == 0
        if offset // WINDOW >= len(windows):
            raise OutOfWindowsError
        return opened(windows[offset // WINDOW])

    return ExampleStream(
        open_window,
        ledger,
        ledger_id=LEDGER_ID,
        image_size=IMAGE_SIZE,
        batch_rows=batch_rows,
        window_positions=WINDOW,
        all_ready=all_ready,
    )


def run_rank(windows, *, batch_rows, all_ready, opened=iter):
    """All batches of one rank, its ledger, and the rows it holds at the end."""
    ledger, batches = Ledger(ORDER), []
    stream = stream_of(windows, ledger, batch_rows=batch_rows, all_ready=all_ready, opened=opened)
    with contextlib.suppress(OutOfWindowsError):
        for batch in stream:
            consume(ledger, batch)
            batches.append(batch)
    carried = [row for table in stream._carried for row in rows_of(table)]
    return batches, ledger, carried


def run_ranks(windows_by_rank, *, batch_rows):
    ranks = Ranks(len(windows_by_rank))

    def run(rank):
        try:
            return run_rank(
                windows_by_rank[rank], batch_rows=batch_rows, all_ready=ranks.all_ready(rank), opened=ranks.opened
            )
        except BaseException:
            ranks.abort()
            raise

    with ThreadPoolExecutor(len(windows_by_rank)) as pool:
        return list(pool.map(run, range(len(windows_by_rank))))


@st.composite
def runs(draw):
    """For each rank its windows, lists of lists of records; and the drawn rows of each item."""
    num_ranks, num_windows = draw(st.integers(1, 2)), draw(st.integers(1, 3))  # less than two empty epochs
    windows = [[[] for _ in range(num_windows)] for _ in range(num_ranks)]
    drawn = {}
    rank = st.integers(0, num_ranks - 1)
    for position in range(num_windows * WINDOW):
        drawn[position] = draw(st.integers(0, 9))
        records = [
            broken(position, row) if draw(st.integers(0, 5)) == 0 else example(position, row)
            for row in range(drawn[position])
        ]
        for record in [*records, closing(position, drawn[position])]:
            windows[draw(rank)][position // WINDOW].append(record)
    for of_rank in windows:
        for i, records in enumerate(of_rank):
            size = draw(st.integers(1, 5))  # rows of a table: the stream cuts its batches from any
            of_rank[i] = [records[start : start + size] for start in range(0, len(records), size)]
    return windows, drawn


def alive(tables):
    return [
        (int(ORDER.position([record["epoch"]], [record["shard"]])[0]), record["row"])
        for records in tables
        for record in records
        if "drop_reason" not in record
    ]


@settings(deadline=None, max_examples=60)
@given(runs(), st.integers(1, 5))
def test_streams_of_all_ranks_give_the_same_number_of_full_batches_and_lose_no_row(run, batch_rows):
    windows, drawn = run
    tables = [[[table_of(records) for records in window] for window in of_rank] for of_rank in windows]
    results = run_ranks(tables, batch_rows=batch_rows)

    held, num_batches = [0] * len(windows), 0  # the oracle counts: all take a batch as long as everyone has one
    for number in range(len(windows[0])):
        held = [rows + len(alive(of_rank[number])) for rows, of_rank in zip(held, windows, strict=True)]
        steps = min(held) // batch_rows
        held, num_batches = [rows - steps * batch_rows for rows in held], num_batches + steps

    for of_rank, (batches, _, carried) in zip(windows, results, strict=True):
        assert [batch.num_rows for batch in batches] == [batch_rows] * num_batches
        trained = [row for batch in batches for row in rows_of(batch)]
        assert trained + carried == [row for window in of_rank for row in alive(window)]
    assert [len(carried) for *_, carried in results] == held

    merged = Ledger.merge([ledger for _, ledger, _ in results])
    left = {position for *_, carried in results for position, _ in carried}
    finished = {position for start, stop in merged.finished for position in range(start, stop)}
    assert finished == set(drawn) - left
    assert merged.totals.consumed == num_batches * batch_rows * len(windows)
    assert merged.totals.consumed + merged.totals.failed.total() + sum(held) == sum(drawn.values())


def alone(ready):
    """The agreement of one rank with itself."""
    return ready


def test_partial_batch_is_carried_over_the_end_of_a_window():
    windows = [
        [table_of([example(0, 0), example(0, 1), example(1, 0)])],
        [table_of([example(2, row) for row in range(6)])],
    ]
    batches, _, carried = run_rank(windows, batch_rows=4, all_ready=alone)
    assert [rows_of(batch) for batch in batches] == [
        [(0, 0), (0, 1), (1, 0), (2, 0)],
        [(2, 1), (2, 2), (2, 3), (2, 4)],
    ]
    assert carried == [(2, 5)]


def test_rank_with_more_rows_waits_at_the_windows_end_for_the_one_with_fewer():
    rich = [[table_of([example(0, row) for row in range(6)])], []]
    poor = [[table_of([example(1, 0), example(1, 1)])], [table_of([example(2, 0), example(2, 1)])]]
    (rich_batches, _, rich_carried), (poor_batches, _, poor_carried) = run_ranks([rich, poor], batch_rows=2)
    assert [len(rich_batches), len(poor_batches)] == [2, 2]
    assert (rich_carried, poor_carried) == ([(0, 4), (0, 5)], [])


def test_rank_that_carries_a_full_batch_begins_the_next_window_with_the_others():
    rich = [[table_of([example(0, row) for row in range(6)])], [table_of([example(2, 0)])]]
    poor = [[], [table_of([example(3, row) for row in range(6)])]]
    (rich_batches, _, _), (poor_batches, _, _) = run_ranks([rich, poor], batch_rows=2)
    assert [rows_of(batch) for batch in rich_batches] == [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4), (0, 5)]]
    assert [rows_of(batch) for batch in poor_batches] == [[(3, 0), (3, 1)], [(3, 2), (3, 3)], [(3, 4), (3, 5)]]


def test_batches_hold_no_tombstones_and_all_columns_of_an_example():
    windows = [[table_of([broken(0, 0), example(0, 1), closing(0, 2), example(1, 0)])]]
    (batch,), _, _ = run_rank(windows, batch_rows=2, all_ready=alone)
    assert batch.schema.equals(SCHEMA)
    assert batch["drop_reason"].to_pylist() == [None, None]
    assert rows_of(batch) == [(0, 1), (1, 0)]


def test_tombstones_reach_the_ledger_with_their_reasons():
    over_limit = {**broken(0, 3), "drop_reason": DropReason.IMAGE_PIXELS_OVER_LIMIT.value}
    windows = [[table_of([broken(0, 0), over_limit, closing(0, 2), closing(1, 0)])]]
    _, ledger, _ = run_rank(windows, batch_rows=2, all_ready=alone)
    assert ledger.totals.failed == {"image_broken": 1, "image_pixels_over_limit": 1}
    assert ledger.open_items() == {0: (2, 2), 1: (0, 0)}
    assert ledger.has_ended(0, np.arange(5)).tolist() == [True, False, False, True, False]


def test_rows_are_not_consumed_before_the_loop_has_entered_their_batch():
    ledger = Ledger(ORDER)
    stream = iter(stream_of([[table_of([example(0, 0), example(0, 1)])]], ledger, batch_rows=1, all_ready=alone))
    batch = next(stream)
    assert not ledger.items
    consume(ledger, batch)
    assert ledger.has_ended(0, np.arange(2)).tolist() == [True, False]


@pytest.mark.parametrize("record", [example(0, 1), broken(0, 1), closing(0, 2)])
def test_row_that_was_planned_from_another_ledger_is_an_error(record):
    windows = [[table_of([example(0, 0), {**record, "ledger_id": LEDGER_ID + 1}])]]
    with pytest.raises(LedgerError, match="another checkpoint"):
        next(iter(stream_of(windows, Ledger(ORDER), batch_rows=2, all_ready=alone)))


def test_row_without_a_ledger_id_is_an_error():
    windows = [[table_of([{**example(0, 0), "ledger_id": None}, example(0, 1)])]]
    with pytest.raises(LedgerError, match="another checkpoint"):
        next(iter(stream_of(windows, Ledger(ORDER), batch_rows=2, all_ready=alone)))


def test_row_that_the_loop_consumed_before_is_an_error():
    windows = [[table_of([example(0, 0)]), table_of([example(0, 0)])]]
    ledger = Ledger(ORDER)
    stream = iter(stream_of(windows, ledger, batch_rows=1, all_ready=alone))
    consume(ledger, next(stream))
    again = next(stream)
    with pytest.raises(LedgerError, match="came twice"):
        consume(ledger, again)


def test_table_that_is_no_example_is_an_error_that_names_the_stage():
    windows = [[table_of([example(0, 0)]).drop_columns(["pixels"])]]
    with pytest.raises(SchemaError, match="train: column 'pixels'"):
        next(iter(stream_of(windows, Ledger(ORDER), batch_rows=1, all_ready=alone)))


def test_stream_in_which_nothing_is_ever_drawn_stops_after_two_epochs():
    opened = []

    def open_window(offset):
        opened.append(offset)
        return [table_of([closing(position, 0) for position in range(offset, offset + WINDOW)])]

    stream = ExampleStream(
        open_window,
        Ledger(ORDER),
        ledger_id=LEDGER_ID,
        image_size=IMAGE_SIZE,
        batch_rows=2,
        window_positions=WINDOW,
        all_ready=alone,
    )
    with pytest.raises(RuntimeError, match="the draw keeps nothing"):
        next(iter(stream))
    assert opened == [0, 2, 4, 6]  # 2 epochs of 4 shards


def test_empty_windows_of_less_than_two_epochs_are_no_error():
    windows = [[table_of([example(0, 0)])], [], [], [], [table_of([example(10, 0)])]]
    batches, _, _ = run_rank(windows, batch_rows=2, all_ready=alone)
    assert [rows_of(batch) for batch in batches] == [[(0, 0), (10, 0)]]


def test_empty_windows_of_two_epochs_are_an_error_though_rows_are_carried():
    windows = [[table_of([example(0, 0)])], *([] for _ in range(20))]
    with pytest.raises(RuntimeError, match="keeps nothing"):
        run_rank(windows, batch_rows=2, all_ready=alone)


def test_rank_that_gets_nothing_goes_on_as_long_as_another_gets_rows():
    rich, poor = [[table_of([example(2 * window, 0)])] for window in range(20)], [[] for _ in range(20)]
    results = run_ranks([rich, poor], batch_rows=1)
    assert [(batches, len(carried)) for batches, _, carried in results] == [([], 20), ([], 0)]
