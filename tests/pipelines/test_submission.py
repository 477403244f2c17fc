"""Submitted jobs: one for a recipe, followed to its end, with nothing sent along that is not needed."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from pipelines import submission
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.submission import JOBS, Submission, check_root, connect, follow, pack, submit
from ray_jobs import recipes
from tests.dashboard import running_dashboard

CONFIG = build_config({"recipe": "bucket", "root": "s3://bucket/metaclip", "compute": {"address": "auto"}})
JOB = Submission("curate", CONFIG, {"role": "driver"})


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(submission, "_POLL_S", 0.01)
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def said():
    return []


@pytest.mark.parametrize("recipe", recipes.names())
def test_packed_recipe_is_the_whole_configuration(recipe, tmp_path):
    config = build_config(recipes.read(recipe))
    pack(config, tmp_path / "packed")
    packed = build_config(yaml.safe_load((tmp_path / "packed" / "recipe.yaml").read_text(encoding="utf-8")))
    assert packed == config.model_copy(update={"compute": config.compute.model_copy(update={"address": None})})


def test_upload_is_the_program_and_the_recipe_and_small(tmp_path, said):
    with running_dashboard() as dashboard:
        submit(connect(dashboard.url), JOB, tell=said.append)
    (package,) = dashboard.packages.values()
    names = zipfile.ZipFile(io.BytesIO(package)).namelist()
    assert {name.partition("/")[0] for name in names} == {"metaclip_core", "pipelines", "ray_jobs", "recipe.yaml"}
    assert "pipelines/templates/report.html" in names
    assert not [name for name in names if "__pycache__" in name]
    assert len(package) < 2 << 20


def test_packed_program_runs_by_itself(tmp_path):
    pack(CONFIG, tmp_path / "packed")
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.path.insert(0, '.'); import ray_jobs.train as job; print(job.__file__)",
        ],
        cwd=tmp_path / "packed",
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(tmp_path)


def test_job_carries_its_labels_and_no_environment(monkeypatch, said):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-mine")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another-secret")
    with running_dashboard() as dashboard:
        submit(connect(dashboard.url), JOB, tell=said.append)
    (sent,) = dashboard.submitted
    assert sent["entrypoint"] == "python -m ray_jobs.curate --recipe recipe.yaml"
    assert sent["entrypoint_label_selector"] == {"role": "driver"}
    assert sent["runtime_env"].keys() <= {"working_dir", "excludes", "_ray_commit"}
    (package,) = dashboard.packages.values()
    files = zipfile.ZipFile(io.BytesIO(package))
    everything = [str(sent).encode(), *(files.read(name) for name in files.namelist()), "".join(said).encode()]
    for secret in (b"a-secret-of-mine", b"another-secret"):
        assert not any(secret in content for content in everything)


def test_id_depends_on_the_job_and_on_all_that_the_recipe_says():
    ids = {JOB.submission_id}
    ids.add(Submission("train", CONFIG).submission_id)
    ids.add(Submission("curate", CONFIG.model_copy(update={"seed": 1})).submission_id)
    ids.add(Submission("curate", CONFIG.model_copy(update={"root": "s3://other"})).submission_id)
    assert len(ids) == 4
    again = build_config({"root": "s3://bucket/metaclip", "compute": {"address": "auto"}, "recipe": "bucket"})
    assert Submission("curate", again).submission_id == JOB.submission_id


def test_job_submitted_twice_is_one(said):
    with running_dashboard(statuses=["RUNNING"]) as dashboard:
        client = connect(dashboard.url)
        assert submit(client, JOB, tell=said.append) == submit(client, JOB, tell=said.append)
    assert len(dashboard.submitted) == 1
    assert "runs already" in said[-1]


@pytest.mark.parametrize("ended", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_job_that_ended_is_started_again_under_its_id(ended, said):
    with running_dashboard(statuses=[ended]) as dashboard:
        client = connect(dashboard.url)
        first = submit(client, JOB, tell=said.append)
        assert submit(client, JOB, tell=said.append) == first
    assert len(dashboard.submitted) == 2
    assert any(ended in text for text in said)


@pytest.mark.parametrize(
    ("statuses", "code", "expected"),
    [
        (["PENDING", "PENDING", "RUNNING", "SUCCEEDED"], 0, 0),
        (["RUNNING", "FAILED"], 2, 2),
        (["RUNNING", "FAILED"], None, 1),
        (["RUNNING", "STOPPED"], None, 143),
    ],
)
def test_exit_code_is_the_jobs_own(statuses, code, expected, said):
    with running_dashboard(statuses=statuses, exit_code=code) as dashboard:
        client = connect(dashboard.url)
        name = submit(client, JOB, tell=said.append)
        assert follow(client, name, write=said.append, tell=said.append) == expected


@pytest.mark.parametrize("cuts", [[], [0], [30], [70, 20, 200]])
def test_log_is_written_once_however_often_the_connection_breaks(cuts, said):
    log = "".join(f"line {number}\n" for number in range(60))
    written = []
    statuses = ["RUNNING"] * (2 + 2 * len(cuts)) + ["SUCCEEDED"]
    with running_dashboard(log=log, cuts=list(cuts), statuses=statuses) as dashboard:
        client = connect(dashboard.url)
        name = submit(client, JOB, tell=said.append)
        assert follow(client, name, write=written.append, tell=said.append) == 0
    assert "".join(written) == log


def test_job_that_waits_says_for_what(monkeypatch, said):
    monkeypatch.setattr(submission, "_TOLD_EVERY_S", 0)
    with running_dashboard(statuses=["PENDING", "PENDING", "RUNNING", "SUCCEEDED"]) as dashboard:
        client = connect(dashboard.url)
        follow(client, submit(client, JOB, tell=said.append), write=said.append, tell=said.append)
    assert any("no node has the labels" in text for text in said)


def test_head_that_forgot_the_job_is_told(said):
    with running_dashboard() as dashboard:
        client = connect(dashboard.url)
        name = submit(client, JOB, tell=said.append)
        dashboard.forgets = True
        with pytest.raises(UserError, match="head was restarted: submit again"):
            follow(client, name, write=said.append, tell=said.append)


def test_head_that_stays_away_ends_the_patience(said):
    with running_dashboard() as dashboard:
        client = connect(dashboard.url)
        name = submit(client, JOB, tell=said.append)
    with pytest.raises(UserError, match="has not answered"):
        follow(client, name, write=said.append, tell=said.append, patience_s=0.05)


def test_token_of_the_cluster_opens_it_and_others_do_not(tmp_path, said):
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("a" * 64 + "\n")
    wrong.write_text("b" * 64)
    with running_dashboard(token="a" * 64, log="done") as dashboard:
        client = connect(dashboard.url, token_file=right)
        assert follow(client, submit(client, JOB, tell=said.append), write=said.append, tell=said.append) == 0
        with pytest.raises(UserError, match="refuses the token") as refusal:
            connect(dashboard.url, token_file=wrong)
        with pytest.raises(UserError, match="refuses the token"):
            connect(dashboard.url)
    assert "b" * 64 not in str(refusal.value)
    assert not any("a" * 64 in text for text in [*said, str(dashboard.submitted)])


def test_cluster_of_another_ray_is_refused():
    with running_dashboard(ray_version="2.59.1") as dashboard, pytest.raises(UserError, match=r"runs Ray 2\.59\.1"):
        connect(dashboard.url)


def test_address_where_nothing_answers_says_so():
    with pytest.raises(UserError, match="tunnel"):
        connect("http://127.0.0.1:9")


def test_token_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(UserError, match="no token file"):
        connect("http://127.0.0.1:9", token_file=tmp_path / "none")


def test_root_of_this_machine_is_refused():
    with pytest.raises(UserError, match="all nodes reach"):
        check_root(build_config({"root": "state"}))
    check_root(CONFIG)
    check_root(build_config({"root": "/shared/metaclip"}))


@pytest.mark.parametrize("job", JOBS)
def test_every_job_is_a_module_that_can_be_run(job):
    assert 'if __name__ == "__main__":' in (Path(recipes.__file__).parents[1] / f"{job}.py").read_text(encoding="utf-8")


def test_head_that_has_just_started_is_asked_again(said):
    with running_dashboard(refusals=2) as dashboard:
        submit(connect(dashboard.url), JOB, tell=said.append)
    assert len(dashboard.submitted) == 1
    assert said == ["the cluster takes no jobs yet: trying again"] * 2 + [f"{JOB.submission_id} submitted"]
