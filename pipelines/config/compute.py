"""Where it runs and where it is recorded: never part of a version."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from metaclip_core.automata.engines import Engine
from pipelines.config.base import Count, Section, Uri


class TrackingConfig(Section):
    """The record in MLflow."""

    uri: Uri | None = None  # None: a sqlite file in `state`
    experiment: str = "worldwide-clip"
    model: str | None = None  # registered model that the end of `metaclip run` is a version of; None: none
    state: str = "~/.local/state/metaclip"
    system_metrics: bool = False  # of the machine that drives a run; of all others Prometheus knows


class NodeKind(Section):
    """Nodes of one kind that a cluster may have."""

    count: Count  # at most
    cpus: Annotated[float, Field(ge=0)]
    gpus: Annotated[float, Field(ge=0)] = 0
    resources: dict[str, float] = Field(default_factory=dict)  # custom ones of Ray
    labels: dict[str, str] = Field(default_factory=dict)


class ComputeConfig(Section):
    """Where it runs. Never part of a version: results do not depend on it."""

    address: str | None = None  # a Ray cluster; None: RAY_ADDRESS, else one on this machine
    nodes: list[NodeKind] | None = None  # that the cluster may grow to; None: METACLIP_NODES, else those that are there
    local_cpus: Count = 6  # logical CPUs of a cluster on this machine
    object_store_mb: Count = 512  # of a cluster on this machine
    max_actors: Count = 2  # of a curation stage
    matcher_engine: Engine = Engine.PYAHOCORASICK
    matcher_budget_mb: Count | None = None  # of automata held by one matcher; None: of all languages met
    matcher_threads: Count = 1  # that share one matcher
    shard_blocks: Count = 2_000  # read tasks planned at once
    num_workers: Count = 2
    min_workers: Count | None = None  # a run starts with so many and grows; None: all must be there
    use_gpu: bool = False
    worker_cpus: Annotated[float, Field(gt=0)] = 1
    worker_resources: dict[str, float] = Field(default_factory=dict)  # custom ones of Ray, beside CPUs and a GPU
    resize_check_s: Count = 60  # from one look for room for more workers to the next
    worker_threads: Count = 1
    feed_actors: Count = 1
    decode_actors: Count = 1
    max_failures: Annotated[int, Field(ge=-1)] = 3
    data_selector: dict[str, str] | None = None  # labels of nodes for the data; None: pool=data, where there are such
    timeout_s: Count = 600  # without progress of the data stream
    stuck_after_s: Count = 1_800  # without progress of a worker, whatever it does
