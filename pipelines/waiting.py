"""While a run waits for nodes, it says so: what it needs, and what is there."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pipelines.beside import repeating
from pipelines.config.compute import ComputeConfig
from pipelines.machines import alive

_log = logging.getLogger(__name__)

FIRST_S, AGAIN_S = 20.0, 120.0


def needed(compute: ComputeConfig, *, data_cpus: float) -> dict[str, float]:
    """What must be there for a training to begin, by Ray's names of resources; `data_cpus` of its data stream."""
    workers = compute.min_workers or compute.num_workers
    asked = {"CPU": workers * compute.worker_cpus + data_cpus}
    if compute.use_gpu:
        asked["GPU"] = workers
    return asked | {name: amount * workers for name, amount in compute.worker_resources.items()}


def missing(asked: Mapping[str, float]) -> str | None:
    """What the nodes that are there lack, or None."""
    have = {name: sum(node["Resources"].get(name, 0) for node in alive()) for name in asked}
    short = [f"{amount:g} {name} (there are {have[name]:g})" for name, amount in asked.items() if have[name] < amount]
    return ", ".join(short) or None


@contextmanager
def telling(look: Callable[[], str | None]) -> Iterator[None]:
    """While the block runs, warn now and again of what is missing."""

    def tell() -> float:
        lack = look()
        if lack is None:
            return FIRST_S
        _log.warning("waiting for nodes: the run needs %s", lack)
        return AGAIN_S

    with repeating(tell, name="waiting", first_s=FIRST_S):
        yield
