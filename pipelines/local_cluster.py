"""A Ray cluster of processes on this machine: a head and workers, on loopback alone, with a token of its own.

For trying on one machine what will run on many: jobs are submitted to it as to any other cluster.

`ray start` puts the machine's outward address in place of 127.0.0.1, and Ray's servers then listen to everybody. So the
nodes are started by a program that makes them itself (this module, run), under the setting by which Ray keeps to
loopback on machines where it has no clusters; whoever talks to the cluster needs it too.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from ray.cluster_utils import Cluster

from pipelines.definitions import make_token
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES, DRIVER_NODES, ON_DEMAND

_HOST = "127.0.0.1"
_READY = "ready"
_END_S = 40.0


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
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])  # jobs begin with `python`
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(  # noqa: S603 - this module, with numbers
            [sys.executable, "-m", __name__, json.dumps(dataclasses.asdict(cluster))],
            env={**os.environ, **told, "PATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            start_new_session=True,  # Ctrl-C is for the one who started it
            text=True,
        )
        try:
            if not any(line.strip() == _READY for line in process.stdout or ()):
                said.seek(0)
                raise UserError(f"a node did not start: {' '.join(said.read().strip().splitlines()[-2:])}")
            yield {**told, "RAY_ADDRESS": cluster.address}
        finally:
            _end(process)


def _end(process: subprocess.Popen[str]) -> None:
    """Let the nodes end, and whatever is left after that."""
    below = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    if process.stdin is not None:
        process.stdin.close()
    _, left = psutil.wait_procs([process, *below], timeout=_END_S)
    for one in left:
        one.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _run(cluster: LocalCluster) -> None:
    """Start the nodes, and end them when the standard input does: also when its writer has died.

    Each worker has a folder of its own, as on another machine: a node unpacks a job's program over what lies there,
    and in a common folder would take it from under the driver.
    """
    of_all: dict[str, Any] = {"node_ip_address": _HOST, "object_store_memory": cluster.object_store_mb << 20}
    head = {
        "gcs_server_port": cluster.port,
        "num_cpus": 0,
        "labels": DRIVER_NODES | ON_DEMAND,
        "include_dashboard": True,
        "dashboard_host": _HOST,
        "dashboard_port": cluster.dashboard_port,
        "dashboard_agent_listen_port": 0,  # any: another cluster may be here
    }
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        nodes = Cluster(initialize_head=True, head_node_args=of_all | head)
        for number in range(cluster.workers):
            nodes.add_node(num_cpus=cluster.cpus, labels=DATA_NODES, temp_dir=f"{folder}/{number}", **of_all)
        sys.stdout.write(f"{_READY}\n")
        sys.stdout.flush()
        sys.stdin.read()
        nodes.shutdown()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    _run(LocalCluster(**json.loads(sys.argv[1])))
