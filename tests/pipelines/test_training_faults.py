"""The promise under SIGKILL: no row is trained on twice, and trained + failed + left over = drawn."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.sampling import draw
from pipelines.checkpoint import load_ledger
from pipelines.curate import load_curation
from pipelines.selection import read_unique
from pipelines.thresholds import load_tables

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

PROGRAM = Path(__file__).with_name("witnessed_run.py")


def run(config, witness, *kill_at):
    """The result of a witnessed run, in a process of its own."""
    witness.mkdir()
    recipe = witness.parent / "recipe.json"
    recipe.write_text(config.model_dump_json())
    command = [sys.executable, str(PROGRAM), str(recipe), str(witness), *map(str, kill_at)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=560, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def groups_of_workers(witness):
    """For each group of workers, in order: the rows trained on before it began, and its workers' rows by step."""
    groups = {}
    for note in witness.glob("*.jsonl"):
        lines = [json.loads(line) for line in note.read_text().splitlines()]
        before = sum(line.get("resumed_after_rows", 0) for line in lines[:1])
        steps = [[tuple(row) for row in line["rows"]] for line in lines if "rows" in line]
        if steps:
            groups.setdefault(before, []).append(steps)
    return sorted(groups.items())


def lineage(witness, *, num_workers, batch_rows):
    """Rows that the final weights have seen, by what the workers noted."""
    groups = groups_of_workers(witness)
    rows = []
    for (before, workers), following in zip(groups, [*groups[1:], None], strict=True):
        assert len(workers) == num_workers
        for steps in workers:
            kept = None if following is None else (following[0] - before) // (num_workers * batch_rows)
            rows += [row for step in steps[:kept] for row in step]
    return rows, len(groups)


def drawn_before(config, ledger):
    """Every row that items before the ledger's frontier drew, in a plain loop."""
    curated = load_curation(config).curated
    tables = load_tables(curated)
    rows = set()
    for epoch, shard in zip(*ledger.order.locate(np.arange(ledger.frontier)), strict=True):
        annotated = read_unique(curated, int(shard))
        drawn = draw(annotated, tables, epoch=int(epoch), seed=config.seed)
        rows |= {(int(epoch), int(shard), row) for row in annotated["row"].take(pa.array(drawn.row)).to_pylist()}
    return rows


@pytest.mark.parametrize("mode", ["annotated", pytest.param("raw", marks=pytest.mark.slow)])
def test_training_killed_in_mid_epoch_trains_on_no_row_twice_and_loses_none(make_config, tmp_path, mode):
    settings = ["training.steps=60", "training.checkpoint_every_steps=7", "compute.max_failures=2"]
    config = make_config(*settings, f"feed.mode={mode}")
    result = run(config, tmp_path / "witness", 20)
    trained, num_groups = lineage(tmp_path / "witness", num_workers=2, batch_rows=8)
    assert num_groups == 2, "the worker was to be killed once"
    assert result["samples_seen"] == len(trained) == 60 * 16
    assert max(Counter(trained).values()) == 1
    ledger = load_ledger(Path(result["checkpoint_uri"]))
    leftover = pq.read_table(Path(config.root) / "runs" / result["run_name"] / "leftover.parquet")
    left = {tuple(row.values()) for row in leftover.to_pylist()}
    drawn = drawn_before(config, ledger)
    assert set(trained) <= drawn
    assert left <= drawn - set(trained)
    assert len(trained) + sum(result["failed"].values()) + len(left) == len(drawn)
    assert result["left_over"] == len(left)
    assert result["failed"] == dict(ledger.totals.failed)
