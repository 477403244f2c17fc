"""`metaclip doctor`: a look at every node of a cluster, and at what they all reach, before a big run.

A small task on each node says what it finds there; what is wrong follows from the reports alone.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ray
import requests
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.definitions import SPILL_FOLDER
from pipelines.errors import UserError
from pipelines.machines import alive

_PACKAGES = ("worldwide-clip", "ray", "torch", "torchvision", "transformers", "tokenizers", "pyarrow", "numpy")
_PROBE = b"metaclip doctor"
_GPU_FOLDER = Path("/proc/driver/nvidia/gpus")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Ray keeps objects
_MIN_FREE_DISK_GB = 20.0
_MAX_CLOCK_S = 2.0
_TIMEOUT_S = 10.0
_GB = 1e9


@dataclass(frozen=True)
class NodeReport:
    """What a node says of itself."""

    versions: Mapping[str, str]
    clock: float  # seconds since 1970
    free_disk_gb: float  # where Ray spills and logs
    shared_memory_gb: float
    gpus: int  # that the driver of the machine sees
    token_mode: str
    token_file_mode: int | None  # None: the token is in no file
    store: str  # empty, or what kept it from the probe


@dataclass(frozen=True)
class SeenNode:
    """A report, with what the cluster says of that node."""

    name: str
    report: NodeReport
    asked_at: float  # by the driver's clock
    answered_at: float
    gpus: float
    object_store_gb: float


@dataclass(frozen=True)
class Symptom:
    """One line: what was looked at, what was found, and whether that is well."""

    name: str
    told: str
    healthy: bool


def examine_cluster(config: RunConfig) -> list[Symptom]:
    """Look at every node, at the root and at the record.

    Raises:
        UserError: the cluster does not answer, or a node does not within the recipe's time-out.
    """
    with connected(config.compute):
        probe = storage.join(storage.absolute(config.root), f"doctor-{uuid.uuid4().hex}")
        try:
            storage.write_bytes(probe, _PROBE)
            written = ""
        except (OSError, UserError) as error:
            written = storage.first_line(error)
        try:
            seen = list(_look(probe, timeout_s=config.compute.timeout_s))
        finally:
            if not written:
                filesystem, path = storage.resolve(probe)
                filesystem.delete_file(path)
        return [
            Symptom("root", written or f"{config.root} takes what is written", not written),
            *judge(seen, own=installed()),
            mlflow_answers(config.tracking.uri),
        ]


def _look(probe: str, *, timeout_s: int) -> Iterator[SeenNode]:
    report = ray.remote(num_cpus=0)(report_node)
    for node in alive():
        affinity = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked_at = time.time()
        try:
            found = ray.get(report.options(scheduling_strategy=affinity).remote(probe), timeout=timeout_s)
        except ray.exceptions.GetTimeoutError as error:
            raise UserError(f"node {node['NodeManagerAddress']} has not answered for {timeout_s} s") from error
        resources = node["Resources"]
        yield SeenNode(
            node["NodeManagerAddress"],
            found,
            asked_at,
            time.time(),
            gpus=resources.get("GPU", 0),
            object_store_gb=resources.get("object_store_memory", 0) / _GB,
        )


def report_node(probe: str) -> NodeReport:
    """What this node is like; run on each."""
    clock = time.time()
    try:
        store = "" if storage.read_bytes(probe) == _PROBE else "the root holds something else than was written"
    except (OSError, UserError) as error:
        store = storage.first_line(error)
    token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
    in_file = "RAY_AUTH_TOKEN" not in os.environ and token.exists()
    return NodeReport(
        versions=installed(),
        clock=clock,
        free_disk_gb=shutil.disk_usage(_spill_folder()).free / _GB,
        shared_memory_gb=shutil.disk_usage(_SHARED_MEMORY).total / _GB if _SHARED_MEMORY.exists() else 0.0,
        gpus=len(list(_GPU_FOLDER.iterdir())) if _GPU_FOLDER.is_dir() else 0,
        token_mode=os.environ.get("RAY_AUTH_MODE", ""),
        token_file_mode=stat.S_IMODE(token.stat().st_mode) if in_file else None,
        store=store,
    )


def _spill_folder() -> str:
    return SPILL_FOLDER if Path(SPILL_FOLDER).is_dir() else tempfile.gettempdir()


def installed() -> dict[str, str]:
    """What is installed here, of what results depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    return found


def judge(seen: Sequence[SeenNode], *, own: Mapping[str, str]) -> list[Symptom]:
    """A line for each thing looked at: well on all nodes, or what is wrong on the first where it is."""
    checks: dict[str, Callable[[SeenNode], str]] = {
        "versions": lambda node: _versions(node.report.versions, own),
        "store": lambda node: node.report.store,
        "clock": _clock,
        "disk": _disk,
        "shared memory": _shared_memory,
        "GPUs": _gpus,
        "token": _token,
    }
    symptoms = []
    for name, check in checks.items():
        wrong = [(node.name, told) for node in seen if (told := check(node))]
        if wrong:
            others = f", and {len(wrong) - 1} more nodes" if len(wrong) > 1 else ""
            symptoms.append(Symptom(name, f"{wrong[0][0]}: {wrong[0][1]}{others}", healthy=False))
        else:
            symptoms.append(Symptom(name, f"well on {len(seen)} nodes", healthy=True))
    return symptoms


def _versions(theirs: Mapping[str, str], own: Mapping[str, str]) -> str:
    other = [f"{name} {theirs.get(name)} for {own[name]}" for name in own if theirs.get(name) != own[name]]
    return ", ".join(other)


def _clock(node: SeenNode) -> str:
    """The report's time lies between question and answer, or by so much outside."""
    early, late = node.asked_at - node.report.clock, node.report.clock - node.answered_at
    off = max(early, late)
    return f"{off:.1f} s {'behind' if early > late else 'ahead of'} the driver" if off > _MAX_CLOCK_S else ""


def _disk(node: SeenNode) -> str:
    free = node.report.free_disk_gb
    return f"{free:.1f} GB free where Ray spills, less than {_MIN_FREE_DISK_GB:g}" if free < _MIN_FREE_DISK_GB else ""


def _shared_memory(node: SeenNode) -> str:
    held, needed = node.report.shared_memory_gb, node.object_store_gb
    return f"{_SHARED_MEMORY} has {held:.1f} GB, and the object store may take {needed:.1f}" if held < needed else ""


def _gpus(node: SeenNode) -> str:
    found = node.report.gpus
    return f"{node.gpus:g} GPUs by the cluster's count, and the machine has {found}" if node.gpus > found else ""


def _token(node: SeenNode) -> str:
    report = node.report
    if report.token_mode != "token":  # noqa: S105 - a mode, no token
        return "RAY_AUTH_MODE is not token: whoever reaches a port can run code"
    if report.token_file_mode is not None and report.token_file_mode & 0o077:
        return f"the token's file has mode {report.token_file_mode:04o}: chmod 600"
    return ""


def mlflow_answers(uri: str | None) -> Symptom:
    """Whether the tracking server is up; a file needs none."""
    if uri is None or not uri.startswith(("http://", "https://")):
        return Symptom("MLflow", "a file on the driver's node", healthy=True)
    try:
        answer = requests.get(f"{uri.rstrip('/')}/health", timeout=_TIMEOUT_S)
    except requests.RequestException as error:
        return Symptom("MLflow", f"{uri} does not answer: {type(error).__name__}", healthy=False)
    return Symptom("MLflow", f"{uri} answers {answer.status_code}", healthy=answer.ok)
