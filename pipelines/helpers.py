"""Small actors that help a run, on the node of whoever makes them: the driver's, which is not taken away."""

from __future__ import annotations

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


def helper(kind: type, *, name: str) -> Any:  # noqa: ANN401 - Ray types an actor's methods without `remote`
    """The actor of this name; made by whoever asks first, and gone when that process lets go of it."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"name": name, "get_if_exists": True, "num_cpus": 0, "scheduling_strategy": here}
    return ray.remote(kind).options(**options).remote()
