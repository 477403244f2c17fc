"""The promise, whatever dies: no row is trained on twice, and trained + failed + left over = drawn."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from pipelines import storage
from pipelines.checkpoint import load_ledger
from tests.faults import Fault, evenly, faulty
from tests.pipelines.witnessed_run import HANG_AT
from tests.promise import drawn_before
from tests.stores import BUCKET
from tests.tracking_servers import running_tracking_server

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

PROGRAM = Path(__file__).with_name("witnessed_run.py")
STEPS, BATCH = 150, 16
SETTINGS = [f"training.steps={STEPS}", "training.checkpoint_every_steps=7", "compute.max_failures=5"]


@pytest.fixture
def make_run(make_config, curated, tmp_path):
    """Configurations of runs, over a copy of the curated root."""
    shutil.copytree(curated[0]["root"], tmp_path / "root")
    return make_config


def command_of(config, witness, *faults):
    witness.mkdir(exist_ok=True)
    recipe = witness.parent / f"recipe-{config.compute.num_workers}.json"
    recipe.write_text(config.model_dump_json())
    return [sys.executable, str(PROGRAM), str(recipe), str(witness), *faults]


def run(config, witness, *faults, env=None):
    """The result of a witnessed run, in a process of its own."""
    command = command_of(config, witness, *faults)
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=800, check=False, env={**os.environ, **(env or {})}
    )
    (witness.parent / "errors.txt").write_text(done.stderr)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def groups_of_workers(witness):
    """For each group of workers, in order: the rows trained on before it began, and its workers' rows by step."""
    groups = {}
    for note in sorted(witness.glob("*.jsonl"), key=lambda path: path.stat().st_ctime):
        lines = [json.loads(line) for line in note.read_text().splitlines()]
        before = sum(line.get("resumed_after_rows", 0) for line in lines[:1])
        steps = [[tuple(row) for row in line["rows"]] for line in lines if "rows" in line]
        if steps:
            groups.setdefault(before, []).append(steps)
    return sorted(groups.items())


def lineage(witness):
    """Rows that the final weights have seen, by what the workers noted; and the sizes of the groups."""
    groups = groups_of_workers(witness)
    rows = []
    for (before, workers), following in zip(groups, [*groups[1:], None], strict=True):
        for steps in workers:
            kept = None if following is None else (following[0] - before) // BATCH
            rows += [row for step in steps[:kept] for row in step]
    return rows, [len(workers) for _, workers in groups]


def assert_promise(config, result, witness):
    """Returns the sizes of the groups of workers."""
    trained, sizes = lineage(witness)
    assert result["samples_seen"] == len(trained) == config.training.steps * BATCH
    assert max(Counter(trained).values()) == 1
    with storage.local_copy(result["checkpoint_uri"]) as folder:
        ledger = load_ledger(folder)
    run_uri = storage.Layout(config.root).run(result["run_name"])
    leftover = storage.read_table(storage.join(run_uri, "leftover.parquet"))
    left = {tuple(row.values()) for row in leftover.to_pylist()}
    drawn = drawn_before(config, ledger)
    assert set(trained) <= drawn
    assert left <= drawn - set(trained)
    assert len(trained) + sum(result["failed"].values()) + len(left) == len(drawn)
    assert result["left_over"] == len(left)
    assert result["failed"] == dict(ledger.totals.failed)
    return sizes


def moments(number):
    """Steps in mid-run, far enough apart that a checkpoint comes in between."""
    return (20 + 25 * np.arange(number) + np.random.default_rng(number).integers(0, 8, number)).tolist()


def times(number, kind):
    return [f"{kind}@{step}" for step in moments(number)]


def test_data_actor_then_a_worker_then_their_node_killed_in_mid_epoch(make_run, tmp_path):
    config = make_run(*SETTINGS, "training.validation_rows=20", "training.checkpoint_every_steps=25")
    result = run(config, tmp_path / "witness", "data@10", "worker@40", "node@80")
    assert assert_promise(config, result, tmp_path / "witness") == [2, 2, 2]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["annotated", "raw"])
def test_workers_killed_five_times(make_run, tmp_path, mode):
    config = make_run(*SETTINGS, f"feed.mode={mode}")
    result = run(config, tmp_path / "witness", *times(5, "worker"))
    assert assert_promise(config, result, tmp_path / "witness") == [2] * 6


@pytest.mark.slow
def test_data_actors_killed_five_times(make_run, tmp_path):
    config = make_run(*SETTINGS)
    result = run(config, tmp_path / "witness", *times(5, "data"))
    assert set(assert_promise(config, result, tmp_path / "witness")) == {2}


@pytest.mark.slow
def test_nodes_lost_five_times(make_run, tmp_path):
    config = make_run(*SETTINGS)
    result = run(config, tmp_path / "witness", *times(5, "node"))
    assert set(assert_promise(config, result, tmp_path / "witness")) == {2}


ELASTIC = ['compute.worker_resources={"slot": 1}', "compute.min_workers=1", "compute.resize_check_s=5"]


@pytest.mark.slow
def test_run_that_loses_a_worker_for_good_goes_on_with_the_rest(make_run, tmp_path):
    config = make_run(*SETTINGS, *ELASTIC)
    result = run(config, tmp_path / "witness", *times(1, "slot"))
    assert assert_promise(config, result, tmp_path / "witness") == [2, 1]


@pytest.mark.slow
def test_run_grows_when_there_is_room(make_run, tmp_path):
    config = make_run(*SETTINGS, *ELASTIC, "training.steps=200", "feed.window_positions=24")
    result = run(config, tmp_path / "witness", "grow@10")
    assert assert_promise(config, result, tmp_path / "witness")[:2] == [1, 2]


@pytest.mark.slow
def test_announced_end_of_a_node_is_met_with_a_checkpoint_at_once(make_run, tmp_path):
    config = make_run(*SETTINGS, *ELASTIC, f"training.checkpoint_every_steps={STEPS}", "training.preemption_steps=2")
    result = run(config, tmp_path / "witness", "notice@10", "slot@110")  # the node that was announced
    sizes = assert_promise(config, result, tmp_path / "witness")
    assert sizes[0] == 2
    (_, _), (resumed_after, _), *_ = groups_of_workers(tmp_path / "witness")
    assert resumed_after > 0  # the only periodic checkpoint is the last


@pytest.mark.parametrize("kills", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_driver_killed_and_submitted_again_with_another_number_of_workers(make_run, tmp_path, kills):
    witness = tmp_path / "witness"
    for number in range(kills):
        config = make_run(*SETTINGS, f"compute.num_workers={2 - number % 2}")
        command = command_of(config, witness)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            children = wait_for_steps(witness, 20 + number, process)
            process.send_signal(signal.SIGKILL)
        psutil.wait_procs(children, timeout=60)
    [run_folder] = (Path(config.root) / "runs").iterdir()
    unregistered = run_folder / "checkpoint_2999-01-01_00-00-00.000000"  # written, and its writer died
    unregistered.mkdir()
    (unregistered / "state.json").write_text("{}")
    again = make_run(*SETTINGS, "compute.num_workers=1")
    result = run(again, witness)
    sizes = assert_promise(again, result, witness)
    assert (sizes[0], sizes[-1]) == (2, 1)
    assert not unregistered.exists()


def wait_for_steps(witness, steps, process, *, earlier=None):
    """Until some worker of the program has noted so many steps: the processes below the program.

    Its notes are those that are not `earlier`: without it, than now.
    """
    deadline = time.monotonic() + 300
    earlier = set(witness.glob("*.jsonl")) if earlier is None else earlier
    while time.monotonic() < deadline and process.poll() is None:
        noted = [path.read_text().count("rows") for path in set(witness.glob("*.jsonl")) - earlier]
        if max(noted, default=0) >= steps:
            return psutil.Process(process.pid).children(recursive=True)
        time.sleep(0.1)
    pytest.fail("the run never came so far")


@pytest.mark.slow
def test_tracking_server_that_is_away_for_a_while(make_run, tmp_path):
    folder, witness = tmp_path / "server", tmp_path / "witness"
    stores = {"backend": f"sqlite:///{folder / 'mlflow.db'}", "artifacts": str(folder / "artifacts")}
    with running_tracking_server(folder, **stores) as server:
        config = make_run(*SETTINGS, f"tracking.uri={server.uri}", "training.log_every_steps=1")
        command = command_of(config, witness)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            wait_for_steps(witness, 10, process)
            server.stop()
            wait_for_steps(witness, 80, process, earlier=set())  # training does not wait
            server.start()
            output, _ = process.communicate(timeout=400)
        assert process.returncode == 0
        result = json.loads(output.splitlines()[-1])
        client = MlflowClient(server.uri)
        steps = [metric.step for metric in client.get_metric_history(result["mlflow_run_id"], "train/loss")]
        assert steps == list(range(1, STEPS + 1))
        assert client.get_run(result["mlflow_run_id"]).info.status == "FINISHED"


@pytest.fixture
def small_disk(tmp_path):
    """A file system with little room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607 - of this machine


def fill(folder):
    """Take all room; returns the file to remove."""
    ballast = folder / "ballast"
    with ballast.open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
            file.flush()
    return ballast


@pytest.mark.slow
def test_disk_that_is_full_at_a_checkpoint(make_run, tmp_path, small_disk):
    config = make_run(*SETTINGS)
    witness = tmp_path / "witness"
    environment = {**os.environ, "TMPDIR": str(small_disk), "RAY_TMPDIR": tempfile.gettempdir()}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command_of(config, witness), **pipes) as process:
        wait_for_steps(witness, 10, process)
        ballast = fill(small_disk)
        wait_until(lambda: len(list(witness.glob("*.jsonl"))) > 2, seconds=120)  # a group has come after
        ballast.unlink()
        output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors[-4000:]
    sizes = assert_promise(config, json.loads(output.splitlines()[-1]), witness)
    assert len(sizes) > 1


def wait_until(holds, *, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.slow
def test_store_that_is_away_for_half_a_minute(in_store, make_config, sample, tmp_path):
    config = make_config(*SETTINGS, f"pool.uri={in_store.upload(sample, 'away/pool')}", root=f"s3://{BUCKET}/away/root")
    witness = tmp_path / "witness"
    weather = evenly(0.0)
    with faulty(in_store.endpoint, weather) as endpoint:
        environment = {**os.environ, **in_store.environment(endpoint)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": environment}
        with subprocess.Popen(command_of(config, witness), **pipes) as process:
            wait_for_steps(witness, 10, process)
            weather.rates = {Fault.UNAVAILABLE: 1.0}
            time.sleep(30)
            weather.rates = {}
            output, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors[-4000:]
    assert weather.came[Fault.UNAVAILABLE] > 0
    assert_promise(config, json.loads(output.splitlines()[-1]), witness)


def test_batch_that_is_poison_ends_the_run_with_its_rows_and_is_not_tried_again(make_run, tmp_path):
    config = make_run(*SETTINGS, "training.learning_rate=1e30", "training.warmup_steps=0")
    witness = tmp_path / "witness"
    result = run(config, witness)
    assert "diverged" in result["error"]
    assert len(list(witness.glob("*.jsonl"))) <= 2  # one group of workers
    [folder] = (Path(config.root) / "runs").glob("*/diverged/*")
    assert str(folder) in result["error"]
    tables = [pq.read_table(path) for path in sorted(folder.glob("*.parquet"))]
    assert [table.num_rows for table in tables] == [BATCH // 2] * 2
    assert not all(all(table["image_finite"].to_pylist()) for table in tables)


@pytest.mark.slow
def test_run_that_is_stuck_ends_with_a_reason_and_stacks(make_run, tmp_path):
    config = make_run(*SETTINGS, "compute.stuck_after_s=90", "compute.max_failures=0")
    result = run(config, tmp_path / "witness", env={HANG_AT: "5"})
    assert "was stuck: rank" in result["error"]
    assert "no progress in 90 s" in result["error"]
    stacks = [path.read_text() for path in (Path(config.root) / "runs").glob("*/stuck/*.txt")]
    assert any("hang_for_ever" in text for text in stacks)
