"""A cluster of processes on this machine: jobs are submitted to it for real, and strangers find no open door."""

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import psutil
import pytest
import requests
from mlflow import MlflowClient

from pipelines.curate import load_curation
from pipelines.errors import UserError
from pipelines.local_cluster import LocalCluster, running
from pipelines.metadata import import_metadata
from tests.hosts import Host, allowed, running_network
from tests.pipelines.test_monitoring import MONITORING, expressions, metrics_of_ours
from tests.stores import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

FIRST_TASK_S = 20
STEPS, CHECKPOINT_EVERY = 60, 5
METACLIP = [str(Path(sys.executable).with_name("metaclip"))]
MODEL = "numbers"
SECRET = secrets.token_hex(16)
_CONNECT = """
import socket, sys
for port in map(int, sys.argv[2:]):
    with socket.socket() as stranger:
        stranger.settimeout(5)
        print(port, stranger.connect_ex((sys.argv[1], port)))
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Where tokens are kept."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(folder))
        patch.setenv("MLFLOW_TRACKING_PASSWORD", SECRET)  # of whoever starts a cluster and submits to it
        yield folder


@pytest.fixture(scope="module")
def local(home):
    """A running cluster, the environment of who talks to it, and its processes."""
    port, dashboard_port = free_ports(2)
    cluster = LocalCluster(port=port, dashboard_port=dashboard_port)
    size = ["--workers", "1", "--cpus", "5", "--object-store-mb", "150"]
    command = [*METACLIP, "cluster", "local", *size, "--port", str(port), "--dashboard-port", str(dashboard_port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr.readline().strip() == "Ctrl-C ends it"
        below = psutil.Process(process.pid).children(recursive=True)
        told = [process.stdout.readline().strip() for _ in range(6)]
        assert told[0] == f"dashboard: {cluster.dashboard}"
        yield cluster, dict(line.removeprefix("export ").split("=", 1) for line in told[1:]), below
        process.terminate()
        process.wait(60)
    assert process.returncode == 0
    assert not [one for one in below if one.is_running()]


@pytest.fixture
def recipe(make_config, sample, tmp_path):
    config = make_config()
    import_metadata(str(sample / "metadata"), config)
    file = tmp_path / "recipe.yaml"
    file.write_text(config.model_dump_json())
    return config, file


def submit(local, recipe, *options, token=None, job="curate"):
    cluster, told, _ = local
    token_file = token or told["RAY_AUTH_TOKEN_PATH"]
    command = [*METACLIP, "submit", job, "--recipe", str(recipe), "--address", cluster.dashboard]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [*command, "--token-file", str(token_file), *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_submitted_curation_begins_soon_is_followed_and_runs_once(local, recipe):
    config, file = recipe
    submitted = time.time()
    first = submit(local, file)
    told = iter(first.stderr.readline, "")
    name = next(found for line in told if (found := re.search(r"metaclip: (\S+) submitted", line)))
    second = submit(local, file)
    output, errors = first.communicate(timeout=300)
    assert first.returncode == 0, output + errors
    followed, told = second.communicate(timeout=100)
    assert second.returncode == 0, told
    assert f"{name[1]} runs already: following it" in told
    assert followed.splitlines()[-1] == output.splitlines()[-1]
    assert load_curation(config).counts
    tasks = json.loads(ask_ray(local, "list", "tasks", "--detail", "--format=json", "--limit=1000"))
    begun = min(datetime.fromisoformat(task["start_time_ms"]) for task in tasks if task["start_time_ms"])
    assert begun.timestamp() - submitted < FIRST_TASK_S, begun
    assert_no_secret(local, name[1])
    third = submit(local, file)
    assert "is started again" in third.communicate(timeout=200)[1]
    assert third.returncode == 0


def ask_ray(local, *command):
    """What a command of Ray's own says."""
    cluster, environment, _ = local
    done = subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", *command, "--address", cluster.dashboard],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def assert_no_secret(local, name):
    """Neither the token nor a password of whoever submits is in what the dashboard tells, in logs or process lists."""
    _, environment, processes = local
    token = Path(environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    told = ask_ray(local, "job", "list")
    assert name in told
    texts = {"ray job list": told}
    texts |= {str(process): " ".join(process.cmdline()) for process in processes}
    logs = [file for session in sessions(processes) for file in Path(session, "logs").rglob("*") if file.is_file()]
    assert len(logs) > 20
    texts |= {str(file): file.read_text(errors="replace") for file in logs}
    for place, text in texts.items():
        assert token not in text, place
        assert SECRET not in text, place


def sessions(processes):
    """Ray's folders of the head and of the worker."""
    told = [" ".join(process.cmdline()) for process in processes if process.is_running()]
    found = {match[0] for line in told if (match := re.search(r"/\S+/session_\d[\w-]+", line))}
    assert len(found) > 1
    return found


def test_job_that_fails_hands_on_its_exit_code(local, recipe):
    _, file = recipe
    process = submit(local, file, "--set", "metadata.name=nowhere")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2
    assert "no metadata" in output


def test_wrong_token_is_told(local, recipe, tmp_path):
    wrong = tmp_path / "token"
    wrong.write_text(secrets.token_hex(32))
    process = submit(local, recipe[1], token=wrong)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 2
    assert "refuses the token" in errors
    assert len(errors.strip().splitlines()) == 1


@pytest.mark.slow
def test_training_whose_gpus_never_come_says_what_it_waits_for(local, recipe):
    curation = submit(local, recipe[1])
    output, errors = curation.communicate(timeout=250)
    assert curation.returncode == 0, output + errors
    may_grow = 'compute.nodes=[{"cpus": 8, "count": 2}, {"cpus": 8, "gpus": 1, "count": 1}]'
    settings = ["--set", may_grow, "--set", "compute.num_workers=1", "--set", "compute.use_gpu=true"]
    process = submit(local, recipe[1], *settings, job="train")
    name = next(found[1] for line in process.stderr if (found := re.search(r"metaclip: (\S+) submitted", line)))
    assert any("waiting for nodes: the run needs 1 GPU (there are 0)" in line for line in process.stdout)
    ask_ray(local, "job", "stop", name)
    _, errors = process.communicate(timeout=100)
    assert process.returncode != 0, errors


@pytest.mark.slow
def test_plain_ray_job_submit_works(local, recipe):
    root = Path(__file__).parents[2]
    program = ["--", "python", "-m", "ray_jobs.curate", "--recipe", str(recipe[1]), "--json"]
    cluster, environment, _ = local
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", cluster.dashboard]
    subprocess.run(
        [*command, "--working-dir", str(root), *program], env={**os.environ, **environment}, timeout=300, check=True
    )
    assert load_curation(recipe[0]).counts


@pytest.mark.slow
def test_whole_pipeline_is_one_job_whose_metrics_are_those_of_the_dashboard(local, recipe, tmp_path):
    config, file = recipe
    settings = ["--set", f"tracking.model={MODEL}", "--set", "compute.num_workers=1"]
    process = submit(local, file, *settings, job="run")
    seen = set()
    while process.poll() is None:
        seen |= exported(local[2])
        time.sleep(1)
    output, errors = process.communicate()
    assert process.returncode == 0, output + errors
    assert f"registered model {MODEL}: version 1" in output
    assert metrics_of_ours() - seen <= {"ray_metaclip_train_failed_rows"}  # none failed
    again = submit(local, file, *settings, job="run")  # it was done: nothing is trained anew
    assert f"registered model {MODEL}: version 1" in again.communicate(timeout=300)[0]
    assert len(list(Path(config.root, "runs").iterdir())) == 1


def exported(processes):
    """Names of our metrics at all ports where nodes export some."""
    names = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for host, port in listening([process]):
                if process.name() == "ray::DashboardAgent" and not host.startswith("::"):
                    with contextlib.suppress(requests.RequestException):
                        names |= set(
                            re.findall(
                                r"ray_metaclip_\w+", requests.get(f"http://{host}:{port}/metrics", timeout=2).text
                            )
                        )
    return names


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="Prometheus is not installed")
def test_prometheus_reads_every_node_and_answers_what_dashboard_and_alerts_ask(local, recipe, tmp_path):
    discovery = [file for folder in sessions(local[2]) for file in Path(folder).glob("prom_metrics_service*.json")]
    shipped = (MONITORING / "prometheus.yaml").read_text().replace("15s", "3s, evaluation_interval: 3s")
    file = tmp_path / "prometheus.yaml"
    file.write_text(re.sub(r"(?<=\{files: \[).*?(?=\])", str(discovery[0]), shipped))
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    with running_prometheus(file, tmp_path / "series") as ask:
        process = submit(local, recipe[1])
        output, errors = process.communicate(timeout=250)
        assert process.returncode == 0, output + errors
        wait_for(lambda: ask("query", query="ray_metaclip_curate_rows_in_total")["result"])
        wait_for(lambda: {target["health"] for target in ask("targets")["activeTargets"]} == {"up"})
        assert len(ask("targets")["activeTargets"]) > 1  # the head and the worker
        wait_for(lambda: {alert["health"] for alert in ask("rules")["groups"][0]["rules"]} == {"ok"})
        shown = expressions(json.loads((MONITORING / "grafana.json").read_text()))
        asked = [re.sub(r"\$\w+", "1", re.sub(r'(?<=")\$\w+', ".*", expression)) for expression in shown]
        answers = [ask("query", query=expression) for expression in asked]
        assert any(answer["result"] for answer in answers)


@contextlib.contextmanager
def running_prometheus(file, series):
    """Prometheus with a configuration; gives a function that asks its API."""
    [port] = free_ports(1)
    where = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={series}"]

    def ask(what, **parameters):
        answer = requests.get(f"http://127.0.0.1:{port}/api/v1/{what}", params=parameters, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    log = file.with_suffix(".log")
    with (
        log.open("w") as said,
        subprocess.Popen([shutil.which("prometheus"), f"--config.file={file}", *where], stderr=said) as process,
    ):
        try:
            wait_for(lambda: process.poll() is not None or is_ready(port))
            assert process.poll() is None, log.read_text()
            yield ask
        finally:
            process.terminate()


def wait_for(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def is_ready(port):
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"http://127.0.0.1:{port}/-/ready", timeout=5).ok
    return False


@pytest.mark.slow
def test_job_goes_on_after_the_head_died_and_was_started_again(home, recipe):
    config, file = recipe
    port, dashboard_port = free_ports(2)
    cluster = LocalCluster(1, 5, object_store_mb=150, port=port, dashboard_port=dashboard_port, name="restarted")
    settings = ["--set", f"training.steps={STEPS}", "--set", f"training.checkpoint_every_steps={CHECKPOINT_EVERY}"]
    settings += ["--set", "training.log_every_steps=1", "--set", "compute.num_workers=1"]
    with running(cluster) as environment:
        first = submit((cluster, environment, ()), file, *settings, job="run")
        while not list(Path(config.root).glob("runs/*/checkpoint_manager_snapshot.json")):
            assert first.poll() is None, first.communicate()
            time.sleep(0.1)
        end_at_once()
    with running(cluster) as environment:
        errors = first.communicate(timeout=200)[1].splitlines()
        assert first.returncode == 2, errors
        assert any("does not answer" in line for line in errors)
        assert errors[-1].endswith("its head was restarted: submit again, it continues")
        again = submit((cluster, environment, ()), file, *settings, job="run")
        output, errors = again.communicate(timeout=400)
        assert again.returncode == 0, output + errors
    [folder] = Path(config.root, "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["samples_seen"] == STEPS * config.training.global_batch_size
    client = MlflowClient(f"sqlite:///{config.tracking.state}/mlflow.db")
    steps = [metric.step for metric in client.get_metric_history(result["mlflow_run_id"], "train/loss")]
    assert set(range(CHECKPOINT_EVERY + 1, STEPS + 1)) <= set(steps)  # of those before, the last may have died untold
    assert max(steps.count(step) for step in range(1, CHECKPOINT_EVERY + 1)) == 1  # from the checkpoint, not the start


def end_at_once():
    """Kill all processes of the cluster that this one started, the head's and all others."""
    [nodes] = [one for one in psutil.Process().children() if "pipelines.local_cluster" in one.cmdline()]
    below = [nodes, *nodes.children(recursive=True)]
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(below, timeout=60)


def listening(processes):
    """Addresses and ports at which processes listen."""
    found = set()
    for process in processes:
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add((connection.laddr.ip, connection.laddr.port))
    return found


@pytest.mark.skipif(not allowed(), reason="this user may not make network namespaces")
def test_every_port_refuses_a_stranger(local):
    _, _, processes = local
    ports = sorted({port for _, port in listening(processes)})
    assert len(ports) > 5
    with running_network() as network:
        stranger = Host(network, 1)
        stranger.create(network)
        try:
            command = stranger.command(sys.executable, "-c", _CONNECT, network.gateway, *map(str, ports))
            tried = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True).stdout
        finally:
            stranger.remove()
    answers = dict(map(int, line.split()) for line in tried.splitlines())
    assert answers.keys() == set(ports)
    assert [port for port, error in answers.items() if error == 0] == []


def test_token_is_for_its_owner_alone(local):
    _, environment, _ = local
    assert Path(environment["RAY_AUTH_TOKEN_PATH"]).stat().st_mode & 0o777 == 0o600


def test_port_that_is_taken_is_told(local):
    cluster, _, _ = local
    with pytest.raises(UserError, match="a node did not start"), running(LocalCluster(port=cluster.port)):
        pass
