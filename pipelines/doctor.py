"""`metaclip doctor --gpu`: what a training relies on, tried on the cluster's own workers before it is paid for."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import partial
from typing import Any

import ray.train
import ray.train.torch
import torch
from ray.train.torch import TorchConfig, TorchTrainer

from metaclip_core.health import CHECKS, Check, UnhealthyError, measure_steps
from metaclip_core.shapes import Preset
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.config.training import Precision
from pipelines.errors import UserError


@dataclass(frozen=True)
class Finding:
    """What a check found on rank 0, or what is wrong on the first rank where something is."""

    name: str
    told: str
    healthy: bool


def examine(config: RunConfig, *, rows: int) -> list[Finding]:
    """Try everything on as many workers as the recipe has, with `rows` pairs on each.

    Raises:
        UserError: the cluster has no such workers.
    """
    compute = config.compute
    with connected(compute), tempfile.TemporaryDirectory(prefix="metaclip-") as folder:
        available = ray.cluster_resources()  # type: ignore[no-untyped-call]
        if compute.use_gpu and available.get("GPU", 0) < compute.num_workers:
            raise UserError(
                f"compute.num_workers {compute.num_workers} needs as many GPUs, and the cluster has "
                f"{available.get('GPU', 0):g}"
            )
        trainer = TorchTrainer(
            _examine,  # type: ignore[arg-type] # Ray's type knows no result of the loop
            train_loop_config={"config": config, "rows": rows},
            scaling_config=ray.train.ScalingConfig(
                num_workers=compute.num_workers,
                use_gpu=compute.use_gpu,
                resources_per_worker={"CPU": compute.worker_cpus, **compute.worker_resources},
            ),
            torch_config=TorchConfig(timeout_s=compute.timeout_s),
            run_config=ray.train.RunConfig(name="doctor", storage_path=folder),
        )
        found = trainer.fit().return_value  # type: ignore[attr-defined] # typed for Train V1
    return [Finding(**finding) for finding in found]


def _examine(arguments: dict[str, Any]) -> list[dict[str, Any]]:
    config: RunConfig = arguments["config"]
    torch.set_num_threads(config.compute.worker_threads)
    device = ray.train.torch.get_device()
    steps = partial(
        measure_steps,
        preset=Preset(config.model.preset),
        rows=arguments["rows"],
        bfloat16=config.training.precision is Precision.BFLOAT16,
    )
    checks: dict[str, Check] = {**CHECKS, "training steps": steps}
    return [_try(name, check, device) for name, check in checks.items()]


def _try(name: str, check: Check, device: torch.device) -> dict[str, Any]:
    """A check on all ranks, and what the first rank says on which it fails."""
    try:
        told, healthy = check(device), True
    except (UnhealthyError, RuntimeError) as error:
        told, healthy = str(error).splitlines()[0], False
    ranks = ray.train.get_context().get_world_size()
    own = (ray.train.get_context().get_world_rank(), told, healthy)
    found = [own]
    if ranks > 1:
        found = [own] * ranks
        torch.distributed.all_gather_object(found, own)
    rank, told, healthy = next((one for one in found if not one[2]), found[0])
    where = "" if healthy or ranks == 1 else f"rank {rank}: "
    return {"name": name, "told": where + told, "healthy": healthy}
