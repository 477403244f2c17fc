"""The Ray cluster that a job runs on: the one it was submitted to, or one on this machine."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import ray
import ray.train
from ray.data import DataContext, ExecutionOptions
from ray.data._internal.execution.execution_callback import ExecutionCallback

from metaclip_core.room import Node, Piece
from pipelines.config.compute import ComputeConfig
from pipelines.config.curation import ClassifierConfig
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES
from pipelines.machines import machines

_PACE_S = 0.03
_READ_CPUS = 1  # for Ray Data's own read tasks


@contextmanager
def connected(compute: ComputeConfig) -> Iterator[None]:
    """A connection to the cluster, for the length of a job.

    Raises:
        UserError: the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_maximum_startup_concurrency", str(compute.local_cpus))
    address = compute.address or os.environ.get("RAY_ADDRESS")
    if ray.is_initialized():
        prepare_data(compute)
        yield
        return
    try:
        if address:
            ray.init(address=address, logging_level=logging.WARNING)
        else:
            ray.init(
                address="local",  # a leftover address file of another cluster is not looked at
                num_cpus=compute.local_cpus,
                object_store_memory=compute.object_store_mb << 20,
                include_dashboard=False,
                logging_level=logging.WARNING,
                log_to_driver=False,  # what workers say lies in the session's folder of logs
            )
    except (ConnectionError, TimeoutError) as error:
        raise UserError(f"no Ray cluster answers at {address}") from error
    try:
        prepare_data(compute)
        yield
    finally:
        ray.shutdown()


def prepare_data(compute: ComputeConfig) -> None:
    """Settings of Ray Data for this process; a data set captures them when it is made."""
    context = DataContext.get_current()
    context.execution_no_progress_timeout_s = compute.timeout_s
    if Pace not in context.custom_execution_callback_classes:
        context.custom_execution_callback_classes.append(Pace)
    context.enable_progress_bars = False  # the command line draws its own
    logging.getLogger("ray.data").setLevel(logging.WARNING)


class Pace(ExecutionCallback):
    """Lets Ray Data's control loop rest.

    When all stages wait for the consumer the loop turns without a pause, which costs half a core, and the consumer may
    be on the same machine.
    """

    def on_execution_step(self, executor: object) -> None:  # noqa: ARG002 - Ray's interface
        """Called once in each turn of the loop."""
        time.sleep(_PACE_S)


def check_matcher_cpus(compute: ComputeConfig) -> None:
    """Refuse a matcher that no node can hold, for Ray would wait for one in silence.

    Raises:
        UserError: no node has a CPU for each of its threads.
    """
    largest = max((machine.cpus for machine in machines(compute)), default=0)
    if compute.matcher_threads > largest:
        raise UserError(
            f"compute.matcher_threads {compute.matcher_threads} needs as many CPUs on one node, "
            f"and the largest has {largest:g}"
        )


def check_classifiers(compute: ComputeConfig, classifiers: Sequence[ClassifierConfig]) -> None:
    """Refuse a classifier that no node can hold, for Ray would wait for one in silence.

    Raises:
        UserError: no node has its CPUs and GPUs.
    """
    for classifier in classifiers:
        if not any(
            machine.cpus >= classifier.num_cpus and machine.gpus >= classifier.num_gpus for machine in machines(compute)
        ):
            raise UserError(
                f"classifier {classifier.name!r} needs {classifier.num_cpus:g} CPUs and {classifier.num_gpus:g} GPUs "
                "on one node, and no node of the cluster has them; lower its num_cpus and num_gpus"
            )


def data_selector(compute: ComputeConfig) -> dict[str, str] | None:
    """The labels of the nodes that carry the data: the recipe's, or those of data nodes where there are any."""
    if compute.data_selector is not None:
        return compute.data_selector
    return DATA_NODES if any(machine.has(DATA_NODES) for machine in machines(compute)) else None


def data_options(compute: ComputeConfig) -> ExecutionOptions:
    """Where a training's data stream runs; Ray Train's own choices for the rest."""
    options = ray.train.DataConfig.default_ingest_options()
    options.label_selector = data_selector(compute)
    return options


def nodes_of(compute: ComputeConfig) -> list[Node]:
    """The machines of the cluster; `labelled`: those that may carry the data."""
    selector = data_selector(compute) or {}
    return [Node(machine.cpus, machine.gpus, labelled=machine.has(selector)) for machine in machines(compute)]


def resource(compute: ComputeConfig, name: str) -> float:
    """How much of a custom resource the cluster has."""
    return float(sum(machine.resources.get(name, 0) for machine in machines(compute)))


def data_pieces(compute: ComputeConfig, *, feed_cpus: int) -> list[Piece]:
    """What the data stream of one training takes."""
    return [
        Piece(compute.feed_actors, feed_cpus, labelled=True),
        Piece(compute.decode_actors + _READ_CPUS, 1, labelled=True),
    ]


def data_cpus(compute: ComputeConfig, *, feed_cpus: int) -> int:
    """What the data stream of one training takes together."""
    return compute.feed_actors * feed_cpus + compute.decode_actors + _READ_CPUS


def check_cpus(compute: ComputeConfig, *, feed_cpus: int, validation_cpus: int) -> None:
    """Refuse what would starve: Ray Data without a CPU of its own hangs in silence.

    Args:
        compute: what the recipe asks for.
        feed_cpus: of each actor of the feed.
        validation_cpus: of what tries checkpoints beside the training.

    Raises:
        UserError: the cluster is too small; with the arithmetic.
    """
    workers = compute.num_workers * compute.worker_cpus
    data = data_cpus(compute, feed_cpus=feed_cpus)
    told = (
        f"{data} for the data stream "
        f"({compute.feed_actors} feed × {feed_cpus}, {compute.decode_actors} decode, {_READ_CPUS} read)"
    )
    selector = data_selector(compute)
    if selector is not None:
        available = sum(machine.cpus for machine in machines(compute) if machine.has(selector))
        if available < data:
            labels = ", ".join(f"{key}={value}" for key, value in selector.items())
            raise UserError(
                f"too few CPUs: {told}, and the nodes labelled {labels} have {available:g}; lower "
                "compute.feed_actors or compute.decode_actors"
            )
    asked = workers + data + validation_cpus
    available = sum(machine.cpus for machine in machines(compute))
    if available < asked:
        validation = f" + {validation_cpus} for validation" if validation_cpus else ""
        raise UserError(
            f"too few CPUs: {compute.num_workers} workers × {compute.worker_cpus:g} + {told}{validation} = {asked:g}, "
            f"and the cluster has {available:g}; lower compute.num_workers or raise compute.local_cpus"
        )
