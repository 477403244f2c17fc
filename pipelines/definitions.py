"""Cluster definitions: a site's parameters → files for Ray's cluster launcher or for KubeRay.

Templates hold what is the same everywhere. Every value goes in as JSON, which is YAML: a parameter can't become a key.
"""

from __future__ import annotations

import json
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from pydantic import TypeAdapter, ValidationError

from pipelines.config import describe
from pipelines.config.compute import NodeKind
from pipelines.config.site import AwsSite, GcpSite, KubernetesSite, MachinePool, PodPool, Site
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES, DRIVER_NODES, GPU_NODES, ON_DEMAND, SPOT
from pipelines.machines import NODES, announce

RAY_VERSION = "2.60.0"
SPILL_FOLDER = "/mnt/nvme"
_TOKENS = "~/.config/metaclip/tokens"
_TOKEN_BYTES = 32
_ENVIRONMENT = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "1200",  # nodes with GPUs take minutes to come
}
_SITE: TypeAdapter[Site] = TypeAdapter(Site)


@dataclass(frozen=True)
class Node:
    """One kind of worker node, as a template needs it."""

    name: str
    pool: MachinePool | PodPool
    image: str
    labels: Mapping[str, str]
    priority: int  # among kinds that would do, the highest comes first
    spot: bool

    @property
    def resources(self) -> dict[str, int]:
        """What Ray counts."""
        return {"CPU": self.pool.cpus} | ({"GPU": self.pool.gpus} if self.pool.gpus else {})

    @property
    def limits(self) -> dict[str, str | int]:
        """What Kubernetes holds a pod to; Ray takes a node's CPUs and GPUs from it."""
        limits: dict[str, str | int] = {"cpu": self.pool.cpus}
        if isinstance(self.pool, PodPool):
            limits["memory"] = f"{self.pool.memory_gb}Gi"
        if self.pool.gpus:
            limits["nvidia.com/gpu"] = self.pool.gpus
        return limits


def read_site(file: Path) -> Site:
    """A site's parameters.

    Raises:
        UserError: no such file, no YAML, unknown keys or impossible values; names the key's path.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
        return _SITE.validate_python(content)
    except OSError as error:
        raise UserError(f"no site {str(file)!r}: give a file like those in cluster/sites") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"site {file} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise UserError(f"site {file}: " + "; ".join(describe(problem) for problem in error.errors())) from error


def nodes(site: Site) -> list[Node]:
    """The kinds of worker nodes: data on spot, GPUs on spot, and GPUs on demand for when there is no spot."""
    pools = site.pools
    return [
        Node("cpu-spot", pools.cpu_spot, site.image, DATA_NODES | SPOT, priority=20, spot=True),
        Node("gpu-spot", pools.gpu_spot, site.gpu_image, GPU_NODES | SPOT, priority=10, spot=True),
        Node("gpu-on-demand", pools.gpu_on_demand, site.gpu_image, GPU_NODES | ON_DEMAND, priority=0, spot=False),
    ]


def token_folder(name: str) -> Path:
    """Where a cluster's token lies on the machine that starts it."""
    return Path(_TOKENS).expanduser() / name


def make_token(name: str) -> Path:
    """The file `auth_token` of a cluster; a new one, for its owner's eyes alone, where there is none."""
    folder = token_folder(name)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    file = folder / "auth_token"
    file.touch(mode=0o600)
    file.chmod(0o600)
    if not file.read_text():
        file.write_text(secrets.token_hex(_TOKEN_BYTES))
    return file


def render(site: Site) -> dict[str, str]:
    """The definitions by file name."""
    match site:
        case AwsSite():
            return {"aws.yaml": _fill("aws", _of_launcher(site))}
        case GcpSite():
            return {"gcp.yaml": _fill("gcp", _of_launcher(site))}
        case KubernetesSite():
            values = _of_kubernetes(site)
            return {
                "kubernetes.yaml": _fill("kubernetes", values),
                "kubernetes-job.yaml": _fill("kubernetes-job", values),
            }


def _fill(name: str, values: Mapping[str, Any]) -> str:
    environment = Environment(  # noqa: S701 - YAML and no HTML: `_as_json` escapes
        loader=PackageLoader("pipelines"),
        undefined=StrictUndefined,
        finalize=_as_json,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["bare"] = _Bare
    return environment.get_template(f"cluster/{name}.yaml").render(values)


class _Bare(str):
    """Goes in as it is, inside a command or a name: for values that a pattern holds to plain words."""

    __slots__ = ()


def _as_json(value: object) -> str:
    return str(value) if isinstance(value, _Bare) else json.dumps(value)


def _environment(site: Site) -> dict[str, str]:
    """Of all nodes: how many there may be is among it, for jobs that begin on few."""
    kinds = [
        NodeKind(count=node.pool.max_nodes, cpus=node.pool.cpus, gpus=node.pool.gpus, labels=dict(node.labels))
        for node in nodes(site)
    ]
    return _ENVIRONMENT | {NODES: announce(kinds)} | site.environment


def _values(site: Site) -> dict[str, Any]:
    return {
        "site": site,
        "nodes": nodes(site),
        "driver_labels": DRIVER_NODES | ON_DEMAND,
        "spill_folder": SPILL_FOLDER,
    }


def _of_launcher(site: AwsSite | GcpSite) -> dict[str, Any]:
    environment = _environment(site) | {"RAY_AUTH_TOKEN_PATH": "/home/ray/token/auth_token"}
    return _values(site) | {
        "max_workers": sum(node.pool.max_nodes for node in nodes(site)),
        "token_folder": str(Path(_TOKENS) / site.name),
        "run_options": [
            *(f"--env {key}={shlex.quote(value)}" for key, value in environment.items()),
            f"--volume {SPILL_FOLDER}:{SPILL_FOLDER}",
            "--ulimit nofile=65536:65536",
        ],
    }


def _of_kubernetes(site: KubernetesSite) -> dict[str, Any]:
    environment = _environment(site)
    del environment["RAY_AUTH_MODE"]  # KubeRay sets it, with the token from the secret
    return _values(site) | {
        "ray_version": RAY_VERSION,
        "token_secret": f"{site.name}-token",
        "environment": [{"name": key, "value": value} for key, value in environment.items()],
    }
