"""A run on a pool of 400,000 shards, late in its 32nd epoch, against the same on a small pool: start and memory.

python -m tests.benchmarks.start

Both read the same rows: of the large pool only the shards that the measured windows visit exist as files, all others
as lines of its manifest. The ledger of the large one holds 31 finished epochs and 2,000 unfinished items before them.
"""

import argparse
import dataclasses
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.fs as pafs
import ray

from metaclip_core.ledger import Item, Ledger
from metaclip_core.positions import Positions
from metaclip_core.sample.pool import write_sample
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.curated import Curated
from pipelines.launch import WorkerSpec, training_stream
from pipelines.manifest import MANIFEST, Manifest, load_manifest
from pipelines.metadata import import_metadata
from pipelines.tokenizer import make_tokenizer
from pipelines.window import window_of
from tests.benchmarks.measure import peak_mb, provenance

SHARDS, EPOCHS, UNFINISHED = 400_000, 32, 2_000
SMALL_SHARDS, SHARD_ROWS = 64, 40
WINDOWS, WINDOW_POSITIONS = 20, 48
BATCH_ROWS = 64


def config_of(folder, pool):
    """The recipe of one of the pools."""
    return build_config(
        {
            "root": str(folder / "root"),
            "pool": {"name": pool, "uri": str(folder / pool)},
            "metadata": {"name": "numbers"},
            "curation": {"p": 0.3},
            "feed": {"window_positions": WINDOW_POSITIONS, "interleaved_shards": 4},
            "model": {"vocab_size": 300},
            "compute": {"local_cpus": 8, "object_store_mb": 256, "feed_actors": 1, "decode_actors": 1},
        }
    )


def prepare(folder):
    """The small pool curated, and the large one as if it were."""
    write_sample(
        pafs.LocalFileSystem(),
        str(folder / "small"),
        num_images=SMALL_SHARDS * SHARD_ROWS,
        shard_rows=SHARD_ROWS,
        seed=0,
    )
    small = config_of(folder, "small")
    with connected(small.compute):
        import_metadata(str(folder / "small" / "metadata"), small)
        curation = curate(small, progress=lambda *_: None)
        make_tokenizer(small, curation, load_manifest(small), uri=str(folder / "tokenizer"))
    write_large(folder, curation.curated, load_manifest(small).table)
    told = {"small": curation.curated, "large": large_curated(folder, curation.curated)}
    for pool, curated in told.items():
        ledger = Ledger(Positions(curated.num_shards, 0)) if pool == "small" else late_ledger()
        storage.write_table(str(folder / f"{pool}.ledger"), ledger.to_table())
        (folder / f"{pool}.json").write_text(json.dumps(dataclasses.asdict(curated)))


def late_ledger():
    """31 epochs done but for items that are strewn over the last of them."""
    ledger = Ledger(Positions(SHARDS, 0))
    first = (EPOCHS - 1) * SHARDS
    open_ones = np.sort(np.random.default_rng(0).choice(SHARDS, UNFINISHED, replace=False)) + first - SHARDS
    starts = [0, *(open_ones + 1).tolist()]
    for start, stop in zip(starts, [*open_ones.tolist(), first], strict=True):
        if start < stop:
            ledger.finished.add(start, stop)
    for position in open_ones.tolist():
        ledger.items[position] = Item(consumed=1)
    return ledger


def large_curated(folder, small):
    digest = load_manifest(config_of(folder, "large")).digest
    return dataclasses.replace(small, pool="large", num_shards=SHARDS, manifest_digest=digest)


def write_large(folder, small, manifest):
    """The manifest, and the files of the shards that the windows visit."""
    names = [f"{shard:06}.tar" for shard in range(SHARDS)]
    columns = [np.arange(SHARDS, dtype=np.int32), names, np.full(SHARDS, 10_000_000), [f"id-{name}" for name in names]]
    config = config_of(folder, "large")
    storage.write_table(storage.Layout(config.root).manifest("large"), pa.table(columns, schema=MANIFEST))
    (folder / "large").mkdir()
    visited = late_ledger().agenda(np.arange(WINDOWS * WINDOW_POSITIONS))
    _, shards = Positions(SHARDS, 0).locate(visited)
    annotations = [
        storage.read_table(storage.shard_file(small.annotations_uri, shard)) for shard in range(SMALL_SHARDS)
    ]
    of_small = manifest["name"].to_pylist()
    for shard in np.unique(shards).tolist():
        source = shard % SMALL_SHARDS
        (folder / "large" / names[shard]).hardlink_to(folder / "small" / of_small[source])
        if shard >= SMALL_SHARDS:  # the first ones are there
            table = annotations[source]
            numbers = pa.array(np.full(table.num_rows, shard), pa.int32())
            table = table.set_column(table.schema.get_field_index("shard"), table.schema.field("shard"), numbers)
            storage.write_table(storage.shard_file(small.annotations_uri, shard), table)


def measure(folder, pool):
    """In a process of its own: what a driver and its actors take."""
    config = config_of(folder, pool)
    told = json.loads((folder / f"{pool}.json").read_text())
    curated = Curated(**{**told, "scores_uris": tuple(told["scores_uris"])})
    ledger = storage.read_table(str(folder / f"{pool}.ledger"))
    spec = WorkerSpec(config, curated, f"bench-{pool}", str(folder / "tokenizer"))
    with connected(config.compute):
        window = window_of(spec.run_name)
        started = time.perf_counter()
        Manifest(load_manifest(config).table).pinned(curated.num_shards, curated.manifest_digest)  # as a driver does
        ray.get(window.start.remote(ledger))
        stream = training_stream(spec)
        first_s, driver, actors = None, [], 0.0
        for number in range(WINDOWS):
            ray.get(window.advance.remote(number * WINDOW_POSITIONS))
            for batch in stream.iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow"):
                if first_s is None and batch.num_rows:
                    first_s = time.perf_counter() - started
                    actors = memory_of_actors()
            gc.collect()
            driver.append(psutil.Process().memory_info().rss / 2**20)
        print(json.dumps({"first_s": first_s, "driver": driver, "peak": peak_mb(), "actors": actors}))


def memory_of_actors():
    """Of all processes of the data stream, in MiB."""
    children = psutil.Process().children(recursive=True)
    return sum(child.memory_full_info().uss for child in children if child.name().startswith("ray::MapWorker")) / 2**20


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), arguments.measure[1])
        return
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        prepare(folder)
        found = {"small": [], "large": []}
        for _ in range(arguments.rounds):
            for pool, of_pool in found.items():
                command = [sys.executable, "-m", "tests.benchmarks.start", "--measure", name, pool]
                done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=1200, env=os.environ)
                of_pool.append(json.loads(done.stdout.splitlines()[-1]))
    report(found, arguments.rounds)


def report(found, rounds):
    print(provenance())
    print(
        f"{WINDOWS} windows of {WINDOW_POSITIONS} positions; the small pool has {SMALL_SHARDS} shards, the large one "
        f"{SHARDS:,}, of {EPOCHS} epochs the last; medians of {rounds} interleaved rounds\n"
    )
    print("| pool | start to first batch, s | driver's peak, MiB | stream, MiB | driver after window 1, 10, 20 |")
    print("|---|---|---|---|---|")
    for pool, of_pool in found.items():
        first_s, peak, actors = (
            statistics.median(one[key] for one in of_pool) for key in ("first_s", "peak", "actors")
        )
        windows = (statistics.median(one["driver"][at] for one in of_pool) for at in (0, 9, 19))
        told = ", ".join(f"{mib:.0f}" for mib in windows)
        print(f"| {pool} | {first_s:.2f} | {peak:.0f} | {actors:.0f} | {told} |")


if __name__ == "__main__":
    main()
