"""A sweep that is killed, and a trial that loses a worker or its own process: the same trials, each trained once."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from pipelines.config import build_config
from pipelines.metadata import import_metadata
from pipelines.sweep_notes import Notes

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(2400)]

STEPS, BATCH, TRIALS, CHECKPOINT_EVERY = 40, 16, 4, 5
LONG_STEPS = 200  # a kill falls between the first checkpoint and the end
SETTINGS = [
    f"training.steps={STEPS}",
    f"training.checkpoint_every_steps={CHECKPOINT_EVERY}",
    "training.log_every_steps=1",
    "compute.num_workers=1",
    "compute.local_cpus=8",  # two trials at once
    "compute.object_store_mb=256",
]


@pytest.fixture
def make_command(sample, make_config, tmp_path):
    """The sweep as a program, and its root."""

    def make(*settings, **sweep):
        content = make_config(*SETTINGS, *settings).model_dump(mode="json")
        dials = {"curation.p": [0.1, 0.3], "training.learning_rate": [1e-3, 1e-4]}
        config = build_config({**content, "sweep": {"dials": dials, **sweep}})
        import_metadata(str(sample / "metadata"), config)
        recipe = tmp_path / "recipe.json"
        recipe.write_text(config.model_dump_json())
        return [sys.executable, "-m", "ray_jobs.sweep", "--recipe", str(recipe), "--json"], Path(config.root)

    return make


def finish(program):
    done = subprocess.run(program, capture_output=True, text=True, timeout=2000, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def steps_of(history):
    return [metric.step for metric in sorted(history, key=lambda metric: metric.timestamp)]


def wait_for(holds, process):
    deadline = time.monotonic() + 1200
    while not holds():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.2)


def files(root, pattern):
    return {path: path.stat().st_mtime_ns for path in root.glob(pattern)}


@pytest.mark.parametrize("seed", range(2))
def test_sweep_that_is_killed_ends_with_the_same_trials_and_none_trained_twice(make_command, tmp_path, seed):
    program, root = make_command()
    delay = random.Random(seed).uniform(0, 20)  # noqa: S311 - any moment will do
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(program, **pipes) as process:
        wait_for(lambda: files(root, "runs/*/result.json"), process)  # one trial is done, and others are not
        time.sleep(delay)
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGKILL)
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    psutil.wait_procs(children, timeout=60)
    finished, noted = files(root, "runs/*/result.json"), files(root, "sweeps/*/outcomes/*.json")
    result = finish(program)
    [folder] = (root / "sweeps").iterdir()
    notes = Notes(str(folder))
    points = [{"curation.p": p, "training.learning_rate": rate} for p in (0.1, 0.3) for rate in (1e-3, 1e-4)]
    assert notes.points() == points
    outcomes = notes.outcomes()
    assert sorted(outcomes) == list(range(TRIALS))
    assert result["trials"] == TRIALS
    assert {outcome.samples_seen for outcome in outcomes.values()} == {STEPS * BATCH}
    assert {path: path.stat().st_mtime_ns for path in finished} == finished  # what was done was left alone
    assert {path: path.stat().st_mtime_ns for path in noted} == noted
    assert len(files(root, "runs/*/result.json")) == TRIALS
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    nested = client.search_runs(["1"], f"tags.mlflow.parentRunId = '{result['mlflow_run_id']}'")
    assert {run.info.status for run in nested} == {"FINISHED"}
    assert len(nested) == TRIALS
    for run in nested:
        if run.info.run_name in {path.parent.name for path in finished}:
            assert steps_of(client.get_metric_history(run.info.run_id, "train/loss")) == list(range(1, STEPS + 1))


def finish_beside_a_kill(program, root, kind):
    """The sweep's result, where its first trial loses a process of a kind after its first checkpoint."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(program, **pipes) as process:
        wait_for(lambda: files(root, "runs/*/checkpoint_manager_snapshot.json"), process)
        below = psutil.Process(process.pid).children(recursive=True)
        [one] = [child for child in below if child.name().startswith(kind)]
        os.kill(one.pid, signal.SIGKILL)
        output, _ = process.communicate(timeout=2000)
    result = json.loads(output.splitlines()[-1])
    assert result["trials"] == 2
    assert not result["problems"]
    [folder] = (root / "sweeps").iterdir()
    assert {outcome.samples_seen for outcome in Notes(str(folder)).outcomes().values()} == {LONG_STEPS * BATCH}
    return result


def test_trial_that_loses_a_worker_goes_on_from_its_checkpoint(make_command, tmp_path):
    # One at a time: the worker is the checkpoint's.
    program, root = make_command(f"training.steps={LONG_STEPS}", dials={"curation.p": [0.1, 0.3]}, at_once=1)
    result = finish_beside_a_kill(program, root, "ray::RayTrain")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    nested = client.search_runs(["1"], f"tags.mlflow.parentRunId = '{result['mlflow_run_id']}'")
    histories = [steps_of(client.get_metric_history(run.info.run_id, "train/loss")) for run in nested]
    [killed] = [history for history in histories if len(history) > LONG_STEPS]
    assert [history for history in histories if history is not killed] == [list(range(1, LONG_STEPS + 1))]
    [again] = [place for place in range(1, len(killed)) if killed[place] <= killed[place - 1]]
    first = killed[again]  # after the checkpoint
    assert killed == [*range(1, killed[again - 1] + 1), *range(first, LONG_STEPS + 1)]
    assert first > 1
    assert (first - 1) % CHECKPOINT_EVERY == 0


def test_trial_that_loses_its_own_process_finds_its_place_again(make_command):
    # There is room for one trial: with the places of the dead one's workers kept, none would ever begin again.
    settings = ["compute.local_cpus=4", f"training.steps={LONG_STEPS}"]
    program, root = make_command(*settings, dials={"curation.p": [0.1, 0.3]})
    finish_beside_a_kill(program, root, "ray::ImplicitFunc")
    assert len(files(root, "runs/*/result.json")) == 2
