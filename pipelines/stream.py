"""The stream as a training worker sees it: full local batches of examples, in step with all other ranks.

A split of Ray Data gives every rank the same number of rows, tombstones among them, so ranks reach the end of a window
with unequal remainders. Before each batch all ranks agree that everyone has one; when somebody has not, all finish the
window, carry what they hold over its end and start the next one together. No rank ever waits alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.ledger import Ledger, LedgerError
from metaclip_core.records import DropReason, check, example_schema

OpenWindow = Callable[[int], Iterable[pa.Table]]


class ExampleStream:
    """Iterates over local batches of `batch_rows` examples, without end.

    Tombstones are taken out and entered in the ledger; what a batch consumed is for the loop to enter, after its step.

    Args:
        open_window: from the offset of a window to this rank's tables of EXAMPLE in it; all ranks call it together.
        ledger: of this rank.
        ledger_id: digest of the ledger that the run's own checkpoint holds.
        batch_rows: rows of a local batch.
        window_positions: items of a window.
        all_ready: whether all ranks are, given whether this one is; all ranks call it together.
    """

    def __init__(
        self,
        open_window: OpenWindow,
        ledger: Ledger,
        *,
        ledger_id: int,
        image_size: int,
        batch_rows: int,
        window_positions: int,
        all_ready: Callable[[bool], bool],
    ) -> None:
        self._open_window = open_window
        self._ledger = ledger
        self._ledger_id = ledger_id
        self._schema = example_schema(image_size)
        self._batch_rows = batch_rows
        self._window_positions = window_positions
        self._all_ready = all_ready
        self._carried: list[pa.Table] = []
        self._carried_rows = 0
        self._arrived = False  # whether the current window has given an example

    def __iter__(self) -> Iterator[pa.Table]:
        """Tables of EXAMPLE, `batch_rows` each, no tombstones."""
        num_shards, empty_positions = self._ledger.order.num_shards, 0
        for offset in itertools.count(0, self._window_positions):
            self._arrived = False
            rows = iter(self._open_window(offset))
            # A window opens with its first row, at a barrier of all ranks; one that carries a full batch must not
            # wait for the others at the next agreement while they wait for it here.
            self._carry_next(rows)
            while self._all_ready(self._fill(rows)):
                yield self._take()
            for table in rows:
                self._carry(table)
            empty_positions = 0 if self._arrived else empty_positions + self._window_positions
            if self._all_ready(empty_positions >= 2 * num_shards):
                raise RuntimeError(f"no example came in {empty_positions} positions: the draw keeps nothing")

    def _fill(self, rows: Iterator[pa.Table]) -> bool:
        """Whether a full batch is at hand, after reading as much as that takes."""
        while self._carried_rows < self._batch_rows:
            if not self._carry_next(rows):
                return False
        return True

    def _carry_next(self, rows: Iterator[pa.Table]) -> bool:
        """Read one more table; whether there was one."""
        table = next(rows, None)
        if table is not None:
            self._carry(table)
        return table is not None

    def _take(self) -> pa.Table:
        held = pa.concat_tables(self._carried)
        rest = held.slice(self._batch_rows)
        self._carried, self._carried_rows = [rest], rest.num_rows
        return held.slice(0, self._batch_rows)

    def _carry(self, table: pa.Table) -> None:
        table = check(table, self._schema, stage="train")
        if not pc.all(pc.equal(table["ledger_id"], self._ledger_id), skip_nulls=False).as_py():
            raise LedgerError("the data stream was planned from another checkpoint than the one that is trained on")
        alive = pc.is_null(table["drop_reason"])
        self._bury(table.filter(pc.invert(alive)))
        examples = table.filter(alive)
        self._carried.append(examples)
        self._carried_rows += examples.num_rows
        self._arrived |= examples.num_rows > 0

    def _bury(self, tombstones: pa.Table) -> None:
        if not tombstones.num_rows:
            return
        closing = pc.equal(tombstones["drop_reason"], DropReason.ITEM_END.value)
        ends = tombstones.filter(closing)
        self._ledger.close(_integers(ends, "epoch"), _integers(ends, "shard"), _integers(ends, "drawn_in_item"))
        failed = tombstones.filter(pc.invert(closing))
        self._ledger.fail(*_row_ids(failed), failed["drop_reason"].to_pylist())


def consume(ledger: Ledger, batch: pa.Table) -> None:
    """Enter a trained batch of EXAMPLE in the ledger."""
    ledger.consume(*_row_ids(batch))


def _row_ids(table: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _integers(table, "epoch"), _integers(table, "shard"), _integers(table, "row")


def _integers(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(), np.int64)
