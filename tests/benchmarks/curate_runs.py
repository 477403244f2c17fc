"""The contenders of `tests.benchmarks.curate`, each in a process of its own: the job, and the same work without Ray.

python -m tests.benchmarks.curate_runs job|plain --folder POOL --root ROOT
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.counting import PoolCounts
from metaclip_core.metadata.store import read_manifest
from pipelines import annotate, count, deduplicate, storage, thresholds
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.curate import curate, locate
from pipelines.identifier import identifier_version
from pipelines.manifest import update_manifest

PROCESSES = 2
SHARDS_PER_BATCH = 8  # the job's own
_held = {}  # by a plain process


def config_of(folder, root):
    """The recipe of a pool in `folder`."""
    compute = {
        "local_cpus": PROCESSES,
        "max_actors": PROCESSES,
        "object_store_mb": 256,
        "matcher_engine": "hash_trie",
        "timeout_s": 600,
    }
    pool = {"name": "pool", "uri": str(folder), "format": "parquet"}
    return build_config({"root": str(root), "pool": pool, "metadata": {"name": "bench"}, "compute": compute})


class Clock:
    """When the first shard, and when everything was done, in seconds after the process was asked for."""

    def __init__(self):
        self._start = time.perf_counter() - time.process_time()  # imports count
        self.first_shard_s = self.done_s = 0.0

    def progress(self, _step, done, _of):
        if done and not self.first_shard_s:
            self.first_shard_s = self._now()

    def end(self):
        self.done_s = self._now()

    def _now(self):
        return time.perf_counter() - self._start


def run_job(config, clock):
    """The product's job."""
    with connected(config.compute):
        found = curate(config, progress=clock.progress)
        clock.end()
    return found.curated.counts_uri


def hold(config, curated):
    """What a plain process loads before it begins."""
    _held["annotate"] = annotate.Annotate(
        config,
        metadata_uri=curated.metadata_uri,
        annotations_uri=curated.annotations_uri,
        identifier_version=identifier_version(config),
    )
    _held["curated"] = curated


def annotate_shards(rows):
    return _held["annotate"](rows)


def read_ids(rows):
    return deduplicate._read_ids(rows, curated=_held["curated"], num_digits=0)


def count_shards(rows):
    return count._count_shards(rows, curated=_held["curated"])


def expect_shards(rows):
    if "expect" not in _held:
        _held["expect"] = thresholds.Expect(_held["curated"])
    return _held["expect"](rows)


def run_plain(config, clock):
    """The job's own functions over the same shards: two processes, each takes the next shard; no Ray."""
    manifest = update_manifest(config)
    curated = locate(config, manifest)
    size = manifest.num_shards
    shards = [manifest.table.slice(row, 1) for row in range(size)]
    batches = [manifest.table.slice(row, SHARDS_PER_BATCH) for row in range(0, size, SHARDS_PER_BATCH)]
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), hold, (config, curated)) as processes:
        for done, _ in enumerate(processes.map(annotate_shards, shards), 1):
            clock.progress("annotate", done, size)
        rows = deduplicate.find_duplicates(pa.concat_tables(processes.map(read_ids, batches)))
        for shard in pc.unique(rows["shard"]).to_pylist():
            of_shard = rows.filter(pc.equal(rows["shard"], shard))
            deduplicate._write_duplicates(of_shard, duplicates_uri=curated.duplicates_uri)
        pool = PoolCounts.zero(read_manifest(*storage.resolve(curated.metadata_uri)).num_entries)
        for tallied in processes.map(count_shards, batches):
            pool.add(tallied)
        count.write_counts(pool, counts_uri=curated.counts_uri, metadata_uri=curated.metadata_uri)
        thresholds.write_thresholds(curated, config.curation)
        for expected in processes.map(expect_shards, batches):
            expected.to_pylist()
        clock.end()
    return curated.counts_uri


def main():
    """Run one of them; times and the place of the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("which", choices=["job", "plain"])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--root", type=Path, required=True)
    arguments = parser.parse_args()
    clock = Clock()
    run = {"job": run_job, "plain": run_plain}[arguments.which]
    counts_uri = run(config_of(arguments.folder, arguments.root), clock)
    print(json.dumps({"counts_uri": counts_uri, "first_shard_s": clock.first_shard_s, "done_s": clock.done_s}))


if __name__ == "__main__":
    main()
