"""What a sweep costs beside its training loops: eight short trials on the sample pool, of which only t varies.

    python -m tests.benchmarks.sweep

The time of a loop is that of all its steps, as the trainings report it; all else (starting workers, checkpoints, the
model, the record) is what a trial costs beside.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow.fs as pafs
from mlflow import MlflowClient

from metaclip_core.sample.pool import write_sample
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.metadata import import_metadata
from pipelines.sweep import sweep
from tests.benchmarks.measure import provenance

TRIALS, STEPS, BATCH, EVERY = 8, 120, 64, 5
SHARDS, SHARD_ROWS = 40, 100


def config_of(folder, at_once):
    dials = {"curation.p": [round(0.1 + 0.05 * number, 2) for number in range(TRIALS)]}
    return build_config(
        {
            "root": str(folder / "root"),
            "pool": {"name": "numbers", "uri": str(folder / "pool")},
            "metadata": {"name": "numbers"},
            "model": {"vocab_size": 600},
            "training": {
                "steps": STEPS,
                "global_batch_size": BATCH,
                "log_every_steps": EVERY,
                "checkpoint_every_steps": STEPS,
            },
            "tracking": {"state": str(folder / "mlflow")},
            "compute": {"num_workers": 1, "local_cpus": 4 * at_once},
            "sweep": {"dials": dials, "at_once": at_once},
        }
    )


def loop_s(client, run_id):
    """Seconds of a training's steps."""
    rates = client.get_metric_history(run_id, "train/samples_per_s")
    return sum(EVERY * BATCH / rate.value for rate in rates)


def counted(folder):
    """When each file of a counting was written."""
    return {path: path.stat().st_mtime_ns for path in (folder / "root" / "counts").rglob("*") if path.is_file()}


def main():
    """Print a line of the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=2, help="trials that run at the same time")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        rows = SHARDS * SHARD_ROWS
        write_sample(pafs.LocalFileSystem(), str(folder / "pool"), num_images=rows, shard_rows=SHARD_ROWS, seed=0)
        config = config_of(folder, arguments.at_once)
        with connected(config.compute):
            import_metadata(str(folder / "pool" / "metadata"), config)
            curate(config, progress=lambda *_: None)
            before = counted(folder)
            started = time.perf_counter()
            result = sweep(config, progress=lambda *_: None)
            wall_s = time.perf_counter() - started
        client = MlflowClient(f"sqlite:///{folder / 'mlflow' / 'mlflow.db'}")
        [experiment] = client.search_experiments(filter_string="name = 'worldwide-clip'")
        asked = f"tags.mlflow.parentRunId = '{result.mlflow_run_id}'"
        runs = client.search_runs([experiment.experiment_id], asked)
        loops = [loop_s(client, run.info.run_id) for run in runs]
        assert len(loops) == len(result.outcomes) == TRIALS
        print(provenance())
        print(
            f"{TRIALS} trials of {STEPS} steps × {BATCH} pairs, {arguments.at_once} at once, of which only p varies\n"
        )
        print("| wall, s | sum of training loops, s | median loop, s | beside, s a trial | counts written anew |")
        print("|---|---|---|---|---|")
        beside = (wall_s - sum(loops)) / TRIALS
        anew = len(counted(folder).items() ^ before.items())
        print(f"| {wall_s:.0f} | {sum(loops):.0f} | {statistics.median(loops):.1f} | {beside:.1f} | {anew} |")
        print(json.dumps({"loops": [round(loop, 1) for loop in loops]}))


if __name__ == "__main__":
    main()
