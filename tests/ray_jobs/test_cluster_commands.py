"""Commands around a cluster, and every one of them that the operations page shows."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.errors import UserError
from ray_jobs.cli import app
from tests.dashboard import running_dashboard

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"(?m)^    (metaclip .+?)(?:\s+#.*)?$", PAGE)))
RUN_HERE = [
    command for command in COMMANDS if re.match("metaclip (cluster (render|check)|plan)", command)
]  # `cluster local`: test_local_cluster.py


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def parse(arguments):
    """The parsed options of a command, of any depth. Raises click's errors."""
    command = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[arguments.pop(0)]
    return command.make_context("metaclip", arguments).params


@pytest.fixture
def site_folder(tmp_path, monkeypatch):
    """A folder as the page's reader has it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "cluster", tmp_path / "cluster", ignore=shutil.ignore_patterns("rendered"))
    return tmp_path


def test_page_shows_commands():
    assert len(RUN_HERE) >= 4
    assert any("submit" in command for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_the_page_has_the_options_that_it_is_given(command):
    assert parse(shlex.split(command.replace("…", "token"))[1:])


@pytest.mark.parametrize("site", ["aws", "gcp", "kubernetes"])
@pytest.mark.parametrize("command", RUN_HERE)
def test_command_of_the_page_runs(command, site, site_folder):
    if site == "kubernetes":
        pytest.importorskip("kubernetes_validate", reason="manifests are checked with the extra `cluster`")
    shutil.copy(site_folder / "cluster" / "sites" / f"{site}.yaml", site_folder / "my-site.yaml")
    arguments = shlex.split(command)[1:]
    if "--crd" in arguments:
        arguments = arguments[: arguments.index("--crd")]
    done = run(*arguments)
    assert done.exit_code == 0, done.output


def test_render_writes_files_and_keeps_the_token_out_of_them(site_folder):
    for _ in range(2):
        done = run("cluster", "render", "cluster/sites/kubernetes.yaml", "--out", "rendered")
        assert done.exit_code == 0
    files = {file.name for file in (site_folder / "rendered").iterdir()}
    assert files == {"kubernetes.yaml", "kubernetes-job.yaml"}
    (token,) = site_folder.rglob("auth_token")
    secret = token.read_text()
    assert secret not in done.output
    assert not any(secret in file.read_text() for file in (site_folder / "rendered").iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["submit", "frobnicate"], "no job 'frobnicate'"),
        (["submit", "curate"], "all nodes reach"),
        (["submit", "curate", "--root", "s3://b/r", "--on", "driver"], "KEY=VALUE"),
        (["submit", "curate", "--root", "s3://b/r", "--token-file", "nowhere"], "no token file"),
        (["submit", "curate", "--root", "s3://b/r", "--address", "http://127.0.0.1:9"], "tunnel"),
        (["cluster", "check", "nowhere.yaml"], "no site"),
        (["plan", "--pairs", "1e9", "--seen", "1e9", "--model", "Z/99", "--prices", "cluster/prices.yaml"], "Z/99"),
        (["plan", "--pairs", "1e9", "--seen", "1e9", "--model", "H/14", "--prices", "nowhere.yaml"], "no price file"),
    ],
)
def test_mistake_is_one_clear_sentence(arguments, words, site_folder):
    done = run(*arguments)
    assert isinstance(done.exception, UserError)
    assert words in str(done.exception)
    assert "\n" not in str(done.exception)


@pytest.mark.parametrize(("status", "code"), [("SUCCEEDED", 0), ("FAILED", 7)])
def test_submit_follows_the_log_and_exits_as_the_job_does(status, code):
    with running_dashboard(statuses=["RUNNING", status], exit_code=code, log="12,000 captions\n") as dashboard:
        done = run("submit", "curate", "--root", "s3://b/r", "--address", dashboard.url)
    assert done.exit_code == code
    assert "12,000 captions\n" in done.output


def test_plan_names_the_bottleneck_and_its_sources(site_folder):
    done = run(*shlex.split(next(command for command in RUN_HERE if "plan" in command))[1:])
    assert "bottleneck: GPUs" in done.output
    assert "2026-11-23-matching.md" in done.output
    assert "stated, not measured: 35%" in done.output
