"""A training run with a witness and a killer: a program for the fault tests.

    python witnessed_run.py RECIPE.json WITNESS_FOLDER [KILL_AT_STEP …]

Every training worker notes, outside the ledger, which rows each step took and where its group began. When a step of the
list is reported, one training worker is killed with SIGKILL. Ends with the result as a line of JSON.
"""

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path

import psutil
import ray

from pipelines.cluster import prepare_data
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.metadata import import_metadata
from pipelines.training import train

WITNESS = "METACLIP_TEST_WITNESS"


def watch_workers():
    """Runs first in every Ray worker process: notes what the training loop consumes."""
    import pipelines.stream  # noqa: PLC0415 - in the worker, before it imports anything else

    consume = pipelines.stream.consume
    merge = pipelines.stream.Ledger.merge
    note = Path(os.environ[WITNESS]) / f"{os.getpid()}.jsonl"

    def write(content):
        with note.open("a") as file:
            file.write(json.dumps(content) + "\n")

    def noted_consume(ledger, batch):
        consume(ledger, batch)
        rows = zip(*(batch[name].to_pylist() for name in ("epoch", "shard", "row")), strict=True)
        write({"rows": list(rows)})

    def noted_merge(ledgers):
        merged = merge(ledgers)
        write({"resumed_after_rows": merged.totals.consumed})
        return merged

    pipelines.stream.consume = noted_consume
    pipelines.stream.Ledger.merge = staticmethod(noted_merge)


def training_workers():
    """Processes of Ray Train's workers below this one."""
    return [p for p in psutil.Process().children(recursive=True) if p.name().startswith("ray::RayTrain")]


def main():
    recipe, witness, kill_at = Path(sys.argv[1]), sys.argv[2], [int(step) for step in sys.argv[3:]]
    config = build_config(json.loads(recipe.read_text()))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    hook = {"worker_process_setup_hook": watch_workers, "env_vars": {WITNESS: witness}}
    ray.init(address="local", num_cpus=6, object_store_memory=256 << 20, include_dashboard=False, runtime_env=hook)
    prepare_data(config.compute)

    def kill(report):
        if kill_at and report["step"] >= kill_at[0]:
            kill_at.pop(0)
            workers = training_workers()
            assert len(workers) == config.compute.num_workers, workers
            os.kill(workers[-1].pid, signal.SIGKILL)

    import_metadata(config.pool.uri + "/metadata", config)
    curate(config, progress=lambda *_: None)
    result = train(config, report=kill)
    assert not kill_at, "the run ended before it could be killed"
    sys.stdout.write(json.dumps(dataclasses.asdict(result)) + "\n")


if __name__ == "__main__":
    main()
