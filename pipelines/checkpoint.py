"""A training checkpoint: weights, optimiser, progress, and every rank's ledger.

Each rank writes its own part of the weights (`sharded_checkpoint`) and its own ledger, rank 0 the progress; Ray Train
merges their folders into one. Nothing in it is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from metaclip_core.ledger import Ledger, LedgerError, finished_items

_STATE = "state.json"
_LEDGER_PATTERN = "ledger-*.parquet"


@dataclass(frozen=True)
class Progress:
    """How far a run is. `samples_seen` is steps × global batch."""

    step: int
    samples_seen: int


def save_progress(folder: Path, progress: Progress) -> None:
    """Write how far the run is, by one rank."""
    state = {"step": progress.step, "samples_seen": progress.samples_seen}
    (folder / _STATE).write_text(json.dumps(state), encoding="utf-8")


def load_progress(folder: Path) -> Progress:
    """How far the run was."""
    return Progress(**json.loads((folder / _STATE).read_text(encoding="utf-8")))


def save_ledger(folder: Path, ledger: Ledger, *, rank: int, gather: Callable[[Any], Sequence[Any]]) -> None:
    """Write this rank's ledger; all ranks call it together, for they agree on which items are finished.

    `gather` takes what this rank tells, and gives what all ranks do.
    """
    done = finished_items(gather(ledger.open_items()))
    ledger.retire(done)
    if rank == 0:
        ledger.finish(done)
    pq.write_table(ledger.to_table(), folder / _LEDGER_PATTERN.replace("*", f"{rank:05d}"), compression="zstd")


def load_ledger(folder: Path) -> Ledger:
    """All ranks' ledgers as one.

    Raises:
        LedgerError: they overlap, or do not add up to what the checkpoint's weights have seen.
    """
    files = sorted(folder.glob(_LEDGER_PATTERN))
    if not files:
        raise LedgerError(f"{folder} holds no ledger")
    ledger = Ledger.merge([Ledger.from_table(pq.read_table(file)) for file in files])
    seen = load_progress(folder).samples_seen
    if ledger.totals.consumed != seen:
        raise LedgerError(f"the ledger holds {ledger.totals.consumed} consumed rows, the weights have seen {seen}")
    return ledger
