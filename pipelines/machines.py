"""What a cluster consists of: the nodes that are there, or those that it may grow to.

An autoscaler adds nodes when something waits for them, and tells nobody how many it may add. So that a job is held to
the cluster that will carry it, and not to the few nodes that are there when it begins, the recipe or the cluster's own
definition says what may come.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from pydantic import TypeAdapter, ValidationError

from pipelines.config.compute import ComputeConfig, NodeKind
from pipelines.errors import UserError

NODES = "METACLIP_NODES"  # set on the nodes of a rendered cluster
_KINDS: TypeAdapter[list[NodeKind]] = TypeAdapter(list[NodeKind])


@dataclass(frozen=True)
class Machine:
    """A node, there or to come."""

    resources: Mapping[str, float]
    labels: Mapping[str, str]

    @property
    def cpus(self) -> float:
        """That Ray counts."""
        return self.resources.get("CPU", 0)

    @property
    def gpus(self) -> float:
        """That Ray counts."""
        return self.resources.get("GPU", 0)

    def has(self, labels: Mapping[str, str]) -> bool:
        """Whether it bears all of them."""
        return labels.items() <= self.labels.items()


def machines(compute: ComputeConfig) -> list[Machine]:
    """All that the cluster may have at once.

    Raises:
        UserError: METACLIP_NODES is no list of kinds of nodes.
    """
    kinds = compute.nodes if compute.nodes is not None else _announced()
    if kinds is None:
        return [Machine(node["Resources"], node["Labels"]) for node in alive()]
    return [_machine(kind) for kind in kinds for _ in range(kind.count)]


def announce(kinds: Sequence[NodeKind]) -> str:
    """What METACLIP_NODES says on a cluster that may grow to these."""
    return _KINDS.dump_json(list(kinds), exclude_defaults=True).decode()


def _announced() -> list[NodeKind] | None:
    text = os.environ.get(NODES)
    if not text:
        return None
    try:
        return _KINDS.validate_json(text)
    except ValidationError as error:
        raise UserError(f"{NODES} is no list of kinds of nodes as compute.nodes has them: {text!r}") from error


def _machine(kind: NodeKind) -> Machine:
    return Machine({"CPU": kind.cpus, "GPU": kind.gpus, **kind.resources}, kind.labels)


def alive() -> list[dict[str, Any]]:
    """The nodes that are there, as Ray describes them."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
