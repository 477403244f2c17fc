"""A Ray cluster of processes on this machine: a head and workers, on loopback, with a token of its own.

For trying on one machine what will run on many: jobs are submitted to it as to any other cluster.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines.definitions import make_token
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES, DRIVER_NODES, ON_DEMAND

_HOST = "127.0.0.1"
_STARTED = b"Ray runtime started"
_START_S = 120.0
_END_S = 20.0
_POLL_S = 0.2


@dataclass(frozen=True)
class LocalCluster:
    """What to start."""

    workers: int = 2
    cpus: int = 4  # of each worker; the head has none
    object_store_mb: int = 256  # of each node
    port: int = 6379
    dashboard_port: int = 8265
    name: str = "local"  # its token is kept under this name

    @property
    def address(self) -> str:
        """For `ray.init` and RAY_ADDRESS."""
        return f"{_HOST}:{self.port}"

    @property
    def dashboard(self) -> str:
        """For `metaclip submit`."""
        return f"http://{_HOST}:{self.dashboard_port}"


@contextmanager
def running(cluster: LocalCluster) -> Iterator[Mapping[str, str]]:
    """While the block runs: the environment of who talks to the cluster.

    Raises:
        UserError: a node did not start; with the end of what it said.
    """
    told = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(make_token(cluster.name)),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaclip-cluster-")))
        head = [
            "--head",
            f"--port={cluster.port}",
            f"--dashboard-host={_HOST}",
            f"--dashboard-port={cluster.dashboard_port}",
            "--num-cpus=0",
            *_labels(DRIVER_NODES | ON_DEMAND),
        ]
        worker = [f"--address={cluster.address}", f"--num-cpus={cluster.cpus}", *_labels(DATA_NODES)]
        of_all = [f"--node-ip-address={_HOST}", f"--object-store-memory={cluster.object_store_mb << 20}"]
        for number, options in enumerate([head, *[worker] * cluster.workers]):
            log = folder / f"{number}.log"
            process = _start([*of_all, *options], environment={**os.environ, **told}, log=log)
            stack.callback(_end, process)
            _await(process, log)
        yield {**told, "RAY_ADDRESS": cluster.address}


def _labels(labels: Mapping[str, str]) -> list[str]:
    return ["--labels", ",".join(f"{key}={value}" for key, value in labels.items())]


def _start(options: list[str], *, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    ray = Path(sys.executable).with_name("ray")
    command = [str(ray), "start", *options, "--block"]
    with log.open("wb") as file:
        return subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)  # noqa: S603


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the node has joined."""
    deadline = time.monotonic() + _START_S
    while _STARTED not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise UserError(f"a node did not start: {' '.join(said[-3:])}")
        time.sleep(_POLL_S)


def _end(process: subprocess.Popen[bytes]) -> None:
    """A node with all its processes."""
    with suppress(psutil.NoSuchProcess):
        below = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        _, left = psutil.wait_procs([*below, process], timeout=_END_S)
        for one in left:
            one.kill()
    process.wait()
