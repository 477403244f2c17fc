"""The ledger: which drawn rows a run has consumed. Its only truth about progress in the stream.

An item is one position of the stream, that is one (epoch, shard); its rows are those that the draw kept. A row ends
as consumed (trained on) or failed (its image was broken). Every rank keeps the ledger of its own rows and writes it
into the checkpoint; on loading they are merged, and a row in two of them is an error. An item of which all drawn rows
have ended is finished, and shrinks to a range of positions; not before its closing tombstone has come to a rank, for
what is still on its way would come to a finished item.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.positions import Positions
from metaclip_core.ranges import Ranges

Int64s = npt.NDArray[np.int64]

LEDGER = pa.schema(
    [
        ("start", pa.int64()),  # first position
        ("stop", pa.int64()),  # one past the last
        ("drawn", pa.int32()),  # null while the item's closing tombstone has not come
        ("consumed", pa.binary()),  # bitmap by row, little-endian; null: all of start … stop is finished
        ("failed", pa.binary()),
    ]
)


class LedgerError(RuntimeError):
    """The stream broke its promise: a row came twice, or two ledgers hold the same row."""


@dataclass
class Item:
    """One unfinished (epoch, shard). The bitmaps are integers: bit r is row r."""

    consumed: int = 0
    failed: int = 0
    drawn: int | None = None
    closed: bool = False  # whether its closing tombstone has come to this ledger, and not only to one before

    @property
    def ended(self) -> int:
        """Bitmap of rows that need not come again."""
        return self.consumed | self.failed


@dataclass
class Totals:
    """Row counts over a run."""

    consumed: int = 0
    failed: Counter[str] = field(default_factory=Counter)


class Ledger:
    """Rows that have ended, by position. Not shared: one per rank, or one merged for readers.

    Args:
        order: the run's order of positions.
    """

    def __init__(self, order: Positions) -> None:
        self.order = order
        self.totals = Totals()
        self.items: dict[int, Item] = {}
        self.finished = Ranges()
        self._places: dict[tuple[int, int], int] = {}  # epoch and shard → position: of items that rows come of now

    def consume(self, epochs: Int64s, shards: Int64s, rows: Int64s) -> None:
        """Rows were trained on. Raises LedgerError when one had ended before."""
        for position, bits in self._bitmaps(epochs, shards, rows):
            item = self._open(position, bits)
            item.consumed |= bits
        self.totals.consumed += len(rows)

    def fail(self, epochs: Int64s, shards: Int64s, rows: Int64s, reasons: Iterable[str]) -> None:
        """Rows came as tombstones. Raises LedgerError when one had ended before."""
        for position, bits in self._bitmaps(epochs, shards, rows):
            item = self._open(position, bits)
            item.failed |= bits
        self.totals.failed.update(reasons)

    def close(self, epochs: Int64s, shards: Int64s, drawn: Int64s) -> None:
        """The closing tombstones of items: how many rows were drawn in each, rows ended earlier included."""
        for position, num_drawn in zip(self.order.position(epochs, shards).tolist(), drawn.tolist(), strict=True):
            item = self._open(position, 0)
            if item.drawn not in (None, num_drawn):
                raise LedgerError(f"{self._name(position)} drew {num_drawn} rows, and {item.drawn} before")
            item.drawn, item.closed = num_drawn, True

    def open_items(self) -> dict[int, tuple[int, int | None]]:
        """Position → (rows ended here, rows drawn if closed here): what ranks exchange to find finished items."""
        return {
            position: (item.ended.bit_count(), item.drawn if item.closed else None)
            for position, item in self.items.items()
        }

    def retire(self, positions: Iterable[int]) -> None:
        """Forget the bitmaps of items that all ranks together have finished."""
        self._places.clear()
        for position in positions:
            self.items.pop(position, None)

    def finish(self, positions: Iterable[int]) -> None:
        """Record items as finished: by one rank alone, after `retire`. Raises LedgerError when one was before."""
        for position in positions:
            self._finish(position, position + 1)

    @property
    def frontier(self) -> int:
        """One past the last position of which anything is known."""
        return max(self.finished.stop, max(self.items, default=-1) + 1)

    def pending(self) -> Int64s:
        """Positions before the frontier that are not finished, ascending: int64[n]."""
        return self.finished.gaps(self.frontier)

    def agenda(self, steps: Int64s) -> Int64s:
        """What a run that starts from this ledger reads as its 0th, 1st, … item: pending ones, then new ones."""
        pending = self.pending()
        result = self.frontier + steps - len(pending)
        old = steps < len(pending)
        result[old] = pending[steps[old]]
        return result

    def has_ended(self, position: int, rows: Int64s) -> npt.NDArray[np.bool_]:
        """Which `rows` of an item must not come again: bool[n]."""
        if self.finished.covers(position):
            return np.ones(len(rows), bool)
        ended = self.items.get(position, Item()).ended
        if not ended or not len(rows):
            return np.zeros(len(rows), bool)
        num_bytes = int(rows.max()) // 8 + 1
        packed = np.frombuffer((ended & ((1 << 8 * num_bytes) - 1)).to_bytes(num_bytes, "little"), np.uint8)
        return np.unpackbits(packed, bitorder="little")[rows].astype(bool)

    def digest(self) -> int:
        """A number that names this ledger's stream and content; int64. Totals do not count, for they follow from it."""
        order = [self.order.num_shards, self.order.seed]
        content = json.dumps([order, self.to_table().to_pylist()], default=bytes.hex).encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little", signed=True)

    def to_table(self) -> pa.Table:
        """As a table of `LEDGER`, by position."""
        rows: list[dict[str, Any]] = [{"start": start, "stop": stop} for start, stop in self.finished]
        rows += [
            {
                "start": position,
                "stop": position + 1,
                "drawn": item.drawn,
                "consumed": _to_bytes(item.consumed),
                "failed": _to_bytes(item.failed),
            }
            for position, item in self.items.items()
        ]
        rows.sort(key=lambda row: row["start"])
        header = {
            "num_shards": self.order.num_shards,
            "seed": self.order.seed,
            "consumed": self.totals.consumed,
            "failed": self.totals.failed,
        }
        return pa.Table.from_pylist(rows, LEDGER).replace_schema_metadata({"ledger": json.dumps(header)})

    @classmethod
    def from_table(cls, table: pa.Table) -> Ledger:
        """The inverse of `to_table`.

        Raises:
            LedgerError: the table is no ledger.
        """
        if table.schema.names != LEDGER.names or b"ledger" not in (table.schema.metadata or {}):
            raise LedgerError("not a ledger")
        header = json.loads(table.schema.metadata[b"ledger"])
        ledger = cls(Positions(header["num_shards"], header["seed"]))
        ledger.totals = Totals(header["consumed"], Counter(header["failed"]))
        for row in table.to_pylist():
            if row["consumed"] is None:
                ledger.finished.add(row["start"], row["stop"])
            else:
                consumed, failed = (int.from_bytes(row[name], "little") for name in ("consumed", "failed"))
                ledger.items[row["start"]] = Item(consumed, failed, row["drawn"])
        return ledger

    @classmethod
    def merge(cls, ledgers: Sequence[Ledger]) -> Ledger:
        """All ranks' ledgers of one checkpoint as one.

        Raises:
            LedgerError: they are of different streams, or hold the same row.
        """
        merged = cls(ledgers[0].order)
        for ledger in ledgers:
            if ledger.order != merged.order:
                raise LedgerError("ledgers of different pools or seeds")
            for start, stop in ledger.finished:
                merged._finish(start, stop)
            merged.totals.consumed += ledger.totals.consumed
            merged.totals.failed.update(ledger.totals.failed)
        for ledger in ledgers:
            for position, item in ledger.items.items():
                known = merged._open(position, item.ended)
                if known.drawn is not None and item.drawn not in (None, known.drawn):
                    raise LedgerError(f"{merged._name(position)} drew {item.drawn} rows, and {known.drawn} before")
                known.consumed |= item.consumed
                known.failed |= item.failed
                known.drawn = item.drawn if known.drawn is None else known.drawn
        # nothing is on its way to a ledger that begins, so none needs to be closed here
        counts = {position: (item.ended.bit_count(), item.drawn) for position, item in merged.items.items()}
        done = finished_items([counts])
        merged.retire(done)
        merged.finish(done)
        return merged

    def _finish(self, start: int, stop: int) -> None:
        try:
            self.finished.add(start, stop)
        except ValueError as error:
            raise LedgerError(f"items were finished twice: {error}") from error

    def _open(self, position: int, bits: int) -> Item:
        item = self.items.get(position)
        if item is None:
            if self.finished.covers(position):
                raise LedgerError(f"{self._name(position)} is finished, and rows of it came again")
            item = self.items[position] = Item()
        if again := item.ended & bits:
            raise LedgerError(f"row {again.bit_length() - 1} of {self._name(position)} came twice")
        return item

    def _bitmaps(self, epochs: Int64s, shards: Int64s, rows: Int64s) -> Iterable[tuple[int, int]]:
        if not len(rows):
            return
        order = np.lexsort((rows, shards, epochs))
        epochs, shards, rows = epochs[order], shards[order], rows[order]
        new = (np.diff(epochs, prepend=-1) != 0) | (np.diff(shards, prepend=-1) != 0)
        starts = np.flatnonzero(new)
        positions = self._positions(epochs[starts], shards[starts])
        again = np.flatnonzero(~new & (np.diff(rows, prepend=-1) == 0))
        if len(again):
            item = self._name(positions[np.searchsorted(starts, again[0]) - 1])
            raise LedgerError(f"row {rows[again[0]]} of {item} came twice in one batch")
        for position, start, stop in zip(positions, starts, [*starts[1:], len(rows)], strict=True):
            ended = np.zeros(rows[stop - 1] + 1, bool)
            ended[rows[start:stop]] = True
            yield position, int.from_bytes(np.packbits(ended, bitorder="little").tobytes(), "little")

    def _positions(self, epochs: Int64s, shards: Int64s) -> list[int]:
        """Those of items, no two alike."""
        items = list(zip(epochs.tolist(), shards.tolist(), strict=True))
        new = [item for item in items if item not in self._places]
        if new:
            self._places.update(zip(new, self.order.position(*np.array(new).T).tolist(), strict=True))
        return [self._places[item] for item in items]

    def _name(self, position: int) -> str:
        epochs, shards = self.order.locate([position])
        return f"epoch {epochs[0]}, shard {shards[0]}"


def finished_items(by_rank: Sequence[Mapping[int, tuple[int, int | None]]]) -> list[int]:
    """Positions whose drawn rows have all ended, given every rank's `Ledger.open_items`."""
    ended: Counter[int] = Counter()
    drawn: dict[int, int] = {}
    for items in by_rank:
        for position, (rows, num_drawn) in items.items():
            ended[position] += rows
            if num_drawn is not None:
                drawn[position] = num_drawn
    return sorted(position for position, num_drawn in drawn.items() if ended[position] == num_drawn)


def _to_bytes(bits: int) -> bytes:
    return bits.to_bytes((bits.bit_length() + 7) // 8, "little")
