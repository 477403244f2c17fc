"""A job on a running cluster: one for each recipe, however often it is submitted.

The program goes up with the recipe, so that a cluster's image need only hold what the program needs: a megabyte, and
nothing else of the folder that one happens to stand in. No variable of the environment goes with it: a cluster's nodes
have keys of their own, and what a job's runtime environment holds is shown to whoever sees its dashboard.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import aiohttp
import ray
import requests
import yaml
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

from pipelines.config import RunConfig
from pipelines.errors import UserError

JOBS = ("build_metadata", "curate", "train", "evaluate", "report", "export_pool", "run", "sweep")
_PACKAGES = ("metaclip_core", "pipelines", "ray_jobs")
_RECIPE = "recipe.yaml"
_EXCLUDES = ["__pycache__", "*.pyc"]
_STOPPED_EXIT_CODE = 143
_POLL_S = 2.0
_TOLD_EVERY_S = 30.0
_START_S = 60.0
_NOBODY_YET = "No available agent"  # says the dashboard of a head whose agent is about to start

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Submission:
    """What is submitted, under an id that is the same for the same recipe."""

    job: str
    config: RunConfig
    labels: Mapping[str, str] = field(default_factory=dict)  # of the node that runs the driver

    @property
    def submission_id(self) -> str:
        """The job, the recipe's name, and a digest of all that the recipe says."""
        content = json.dumps(self.config.model_dump(mode="json"), sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        return f"{self.job.replace('_', '-')}-{self.config.recipe}-{digest}"


def check_root(config: RunConfig) -> None:
    """Refuse what only this machine has.

    Raises:
        UserError: the root is a relative path.
    """
    if "://" not in config.root and not Path(config.root).is_absolute():
        raise UserError(
            f"root {config.root!r} is a folder of this machine: give one that all nodes reach, a bucket or an "
            "absolute path of a shared file system"
        )


def connect(address: str, *, token_file: Path | None = None) -> JobSubmissionClient:
    """The jobs of the cluster whose dashboard is at `address`.

    Args:
        address: a URL.
        token_file: the cluster's token; None: what Ray finds in the environment or in ~/.ray/auth_token.

    Raises:
        UserError: nothing answers, the token is not the cluster's, or its Ray is of another version.
    """
    headers = None
    if token_file is not None:
        if not token_file.is_file():
            raise UserError(f"there is no token file {token_file}")
        headers = {"Authorization": f"Bearer {token_file.read_text(encoding='utf-8').strip()}"}
    with _sentences(address):
        client = JobSubmissionClient(address, headers=headers)
    running = client._server_ray_version  # noqa: SLF001 - Ray's client tells it nowhere else
    if running != ray.__version__:
        raise UserError(f"the cluster at {address} runs Ray {running}, and this is Ray {ray.__version__}")
    return client


@contextmanager
def _sentences(address: str) -> Iterator[None]:
    """Turns what Ray's client raises into a sentence."""
    try:
        yield
    except AuthenticationError as error:
        raise UserError(
            f"the cluster at {address} refuses the token: give its own with --token-file, or in RAY_AUTH_TOKEN_PATH "
            "with RAY_AUTH_MODE=token"
        ) from error
    except (ConnectionError, requests.exceptions.RequestException) as error:
        raise UserError(f"no Ray dashboard answers at {address}: is the tunnel to it open?") from error
    except RuntimeError as error:
        raise UserError(f"the cluster at {address} says: {str(error).splitlines()[0]}") from error


def submit(client: JobSubmissionClient, submission: Submission, *, tell: Tell) -> str:
    """Start the job, unless it runs already; its id. One that ended, in whatever way, is started again and continues.

    Raises:
        UserError: the cluster does not take it.
    """
    name = submission.submission_id
    address = client.get_address()
    with _sentences(address):
        known = {job.submission_id: job.status for job in client.list_jobs()}
        if name in known and not known[name].is_terminal():
            tell(f"{name} runs already: following it")
            return name
        if name in known:
            tell(f"{name} ended before ({known[name]}): it is started again")
            client.delete_job(name)
    with _sentences(address), tempfile.TemporaryDirectory(prefix="metaclip-") as folder:
        pack(submission.config, Path(folder))
        _when_ready(
            lambda: client.submit_job(
                entrypoint=f"python -m ray_jobs.{submission.job} --recipe {_RECIPE}",
                submission_id=name,
                runtime_env={"working_dir": folder, "excludes": _EXCLUDES},
                metadata={"recipe": submission.config.recipe},
                entrypoint_label_selector=dict(submission.labels) or None,
            ),
            tell=tell,
        )
    tell(f"{name} submitted")
    return name


def _when_ready(ask: Callable[[], str], *, tell: Tell) -> None:
    """Ask again while the cluster has just started and nobody on it takes jobs yet."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            ask()
        except RuntimeError as error:
            if _NOBODY_YET not in str(error) or time.monotonic() > deadline:
                raise
        else:
            return
        tell("the cluster takes no jobs yet: trying again")
        time.sleep(_POLL_S)


def pack(config: RunConfig, folder: Path) -> None:
    """Put the program and the whole recipe into `folder`, for the cluster to run there."""
    for package in _PACKAGES:
        with resources.as_file(resources.files(package)) as source:
            shutil.copytree(source, folder / package, ignore=shutil.ignore_patterns(*_EXCLUDES))
    content = config.model_dump(mode="json")
    content["compute"]["address"] = None  # of the cluster that the job runs on, which Ray tells it
    (folder / _RECIPE).write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")


def follow(client: JobSubmissionClient, name: str, *, write: Tell, tell: Tell, patience_s: float = 300.0) -> int:
    """Write the job's log as it grows until the job ends; its exit code.

    Args:
        client: the cluster's jobs.
        name: the job's id.
        write: takes the log's text.
        tell: takes what is to be said beside it: that the job waits, that the head is away.
        patience_s: for how long the head may be away.

    Raises:
        UserError: the head is away for longer, or has lost the job.
    """
    log = _Log(client, name, write)
    since_told = answered = time.monotonic()
    while True:
        try:
            details = client.get_job_info(name)
            answered = time.monotonic()
            if details.status == JobStatus.PENDING:
                if time.monotonic() - since_told > _TOLD_EVERY_S:
                    tell(f"{name} waits: {details.message}")
                    since_told = time.monotonic()
            else:
                asyncio.run(log.follow())
                details = client.get_job_info(name)
            if details.status.is_terminal():
                return _exit_code(details.status, details.driver_exit_code, str(details.message), tell)
        except (ConnectionError, requests.exceptions.RequestException, aiohttp.ClientError) as error:
            if time.monotonic() - answered > patience_s:
                raise UserError(
                    f"the cluster has not answered for {patience_s:.0f} s; submit again, the job continues"
                ) from error
            tell("the cluster does not answer: trying again")
        except RuntimeError as error:
            if "does not exist" in str(error):
                raise UserError(
                    f"the cluster does not know {name} any more, for its head was restarted: submit again, it continues"
                ) from error
            tell(f"the log broke off: {str(error).splitlines()[0]}")
        time.sleep(_POLL_S)


def _exit_code(status: JobStatus, code: int | None, message: str, tell: Tell) -> int:
    if status == JobStatus.SUCCEEDED:
        return 0
    tell(f"{status}: {message}")
    return code or (_STOPPED_EXIT_CODE if status == JobStatus.STOPPED else 1)


class _Log:
    """A job's log, each character written once whatever happens to the connection."""

    def __init__(self, client: JobSubmissionClient, name: str, write: Tell) -> None:
        self._client = client
        self._name = name
        self._write = write
        self._written = 0

    async def follow(self) -> None:
        """Until the log ends or the connection does; every connection begins with the log's first character."""
        read = 0
        async for text in self._client.tail_job_logs(self._name):
            news = text[max(0, self._written - read) :]
            read += len(text)
            self._written = max(self._written, read)
            if news:
                self._write(news)
