"""A cluster's ills, each said in a line."""

import os
import stat
import subprocess
import sys
from dataclasses import replace

import pytest

from pipelines.cluster_doctor import NodeReport, SeenNode, installed, judge, mlflow_answers
from tests.metadata_server import running_metadata

OWN = {"python": "3.11.7", "ray": "2.60.0"}
REPORT = NodeReport(
    versions=OWN,
    clock=100.5,
    free_disk_gb=200,
    shared_memory_gb=64,
    gpus=8,
    token_mode="token",  # noqa: S106 - a mode
    token_file_mode=0o600,
    store="",
)
NODE = SeenNode("10.0.0.1", REPORT, asked_at=100, answered_at=101, gpus=8, object_store_gb=32)


def by_name(nodes):
    return {symptom.name: symptom for symptom in judge(nodes, own=OWN)}


def test_healthy_nodes_give_a_line_each_and_no_complaint():
    symptoms = by_name([NODE, replace(NODE, name="10.0.0.2")])
    assert all(symptom.healthy for symptom in symptoms.values())
    assert symptoms.keys() == {"versions", "store", "clock", "disk", "shared memory", "GPUs", "token"}


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        ({"versions": {**OWN, "ray": "2.59.0"}}, "versions", "ray 2.59.0 for 2.60.0"),
        ({"versions": {"python": "3.11.7"}}, "versions", "ray None for 2.60.0"),
        ({"store": "Access Denied"}, "store", "Access Denied"),
        ({"clock": 90.0}, "clock", "10.0 s behind"),
        ({"clock": 107.5}, "clock", "6.5 s ahead"),
        ({"free_disk_gb": 3}, "disk", "3.0 GB free"),
        ({"shared_memory_gb": 0.064}, "shared memory", "shm has 0.1 GB"),
        ({"gpus": 7}, "GPUs", "the machine has 7"),
        ({"token_mode": ""}, "token", "can run code"),
        ({"token_file_mode": 0o644}, "token", "mode 0644"),
    ],
)
def test_ill_of_one_node_is_told_with_its_name_and_no_other_ill(change, name, words):
    ill = replace(NODE, name="10.0.0.9", report=replace(REPORT, **change))
    symptoms = by_name([NODE, ill])
    assert [other for other, symptom in symptoms.items() if not symptom.healthy] == [name]
    assert symptoms[name].told.startswith("10.0.0.9: ")
    assert words in symptoms[name].told
    assert "\n" not in symptoms[name].told


def test_ill_of_many_nodes_is_one_line():
    ill = [replace(NODE, name=f"10.0.0.{n}", report=replace(REPORT, store="Access Denied")) for n in range(5)]
    assert by_name(ill)["store"].told == "10.0.0.0: Access Denied, and 4 more nodes"


def test_clock_within_the_answers_time_is_never_blamed():
    slow = replace(NODE, answered_at=200.0, report=replace(REPORT, clock=199.0))
    assert by_name([slow])["clock"].healthy


def test_versions_are_of_what_is_installed():
    assert installed()["ray"].startswith("2.60")
    assert installed()["python"].startswith("3.")


def test_record_in_a_file_needs_no_server_and_a_server_that_is_away_is_told():
    assert mlflow_answers(None).healthy
    assert mlflow_answers("sqlite:////tmp/mlflow.db").healthy
    away = mlflow_answers("http://127.0.0.1:9")
    assert not away.healthy
    with running_metadata() as server:
        refused = mlflow_answers(server.url)
    assert not refused.healthy
    assert "403" in refused.told


@pytest.mark.ray
@pytest.mark.slow
def test_doctor_looks_at_a_real_cluster(tmp_path):
    token = tmp_path / "token"
    token.write_text("c" * 64)
    token.chmod(0o600)
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment.pop("RAY_AUTH_TOKEN", None)
    command = [sys.executable, "-m", "ray_jobs.doctor", "--root", str(tmp_path / "root")]
    command += ["--set", "compute.local_cpus=1", "--set", "compute.object_store_mb=100"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, env=environment)
    lines = {line.partition(":")[0].split(maxsplit=1)[1]: line for line in done.stdout.splitlines()}
    assert lines.keys() == {"root", "versions", "store", "clock", "disk", "shared memory", "GPUs", "token", "MLflow"}
    assert all(lines[name].startswith("ok") for name in ("root", "versions", "store", "clock", "token", "MLflow")), (
        lines
    )
    assert "c" * 64 not in done.stdout + done.stderr
    assert not list((tmp_path / "root").glob("doctor-*"))
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
