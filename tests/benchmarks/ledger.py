"""The ledger of a large run: its size, merging those of all ranks, counting a step's rows.

python -m tests.benchmarks.ledger
"""

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from metaclip_core.ledger import Ledger
from metaclip_core.positions import Positions
from pipelines.checkpoint import Progress, load_ledger, save_ledger, save_progress
from tests.benchmarks.measure import provenance

NUM_SHARDS, EPOCH = 400_000, 31
ITEMS, ITEM_ROWS, RANKS = 2_000, 10_000, 8
BATCH_ROWS, BATCH_ITEMS = 1_024, 64
ROUNDS = 15


def ledgers():
    """One for each rank: all items unfinished, a random half of the rows consumed, dealt to the ranks at random."""
    rng = np.random.default_rng(0)
    order = Positions(NUM_SHARDS, 0)
    of_ranks = [Ledger(order) for _ in range(RANKS)]
    first = EPOCH * NUM_SHARDS
    of_ranks[0].finished.add(0, first)
    epochs, shards = order.locate(np.arange(first, first + ITEMS))
    for epoch, shard in zip(epochs, shards, strict=True):
        consumed = np.flatnonzero(rng.random(ITEM_ROWS) < 0.5)
        rank_of = rng.integers(0, RANKS, len(consumed))
        for rank, ledger in enumerate(of_ranks):
            rows = consumed[rank_of == rank]
            ledger.consume(np.full(len(rows), epoch), np.full(len(rows), shard), rows)
        of_ranks[0].close(np.array([epoch]), np.array([shard]), np.array([ITEM_ROWS]))
    return of_ranks


def write(folder, of_ranks):
    """A checkpoint's ledger files, as the ranks write them."""
    told = [ledger.open_items() for ledger in of_ranks]
    for rank, ledger in enumerate(of_ranks):
        save_ledger(folder, ledger, rank=rank, gather=lambda _: told)
    save_progress(folder, Progress(1, sum(ledger.totals.consumed for ledger in of_ranks)))


def seconds(run):
    """Median wall time."""
    taken = []
    for number in range(ROUNDS):
        started = time.perf_counter()
        run(number)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def counting(ledger):
    """The time of a step's rows, on one rank: of some open items, as a stream mixes them, rows that are left."""
    rng = np.random.default_rng(1)
    mixed_items = rng.choice(np.array(list(ledger.items)), BATCH_ITEMS, replace=False)
    every_row = np.arange(ITEM_ROWS)
    left = [rng.permutation(np.flatnonzero(~ledger.has_ended(int(item), every_row))) for item in mixed_items]
    rows_of_item = BATCH_ROWS // BATCH_ITEMS
    batches = []
    for number in range(ROUNDS):
        rows = [of_item[number * rows_of_item :][:rows_of_item] for of_item in left]
        epochs, shards = ledger.order.locate(np.repeat(mixed_items, rows_of_item))
        mixed = rng.permutation(BATCH_ROWS)
        batches.append((epochs[mixed], shards[mixed], np.concatenate(rows)[mixed]))
    return seconds(lambda number: ledger.consume(*batches[number]))


def main():
    """Print a table."""
    of_ranks = ledgers()
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        write(folder, of_ranks)
        of_rank = sum(path.stat().st_size for path in folder.glob("*.parquet")) / 1e6
        taken = seconds(lambda _: load_ledger(folder))
        merged = load_ledger(folder)
        whole = folder / "whole"
        whole.mkdir()
        write(whole, [merged])
        of_one = sum(path.stat().st_size for path in whole.glob("*.parquet")) / 1e6
    print(provenance())
    print(f"{ITEMS:,} unfinished items of {ITEM_ROWS:,} rows, a random half consumed; medians of {ROUNDS}\n")
    print("| | |\n|---|---|")
    print(f"| size, merged | {of_one:.2f} MB |")
    print(f"| size, the files of {RANKS} ranks together | {of_rank:.2f} MB |")
    print(f"| reading and merging those of {RANKS} ranks | {taken:.2f} s |")
    told = f"counting {BATCH_ROWS:,} rows of {BATCH_ITEMS} items, one rank's part of a step"
    print(f"| {told} | {1e3 * counting(merged):.2f} ms |")


if __name__ == "__main__":
    main()
