"""Labels of Ray nodes: what the cluster definitions give to a node, and what jobs look for."""

from __future__ import annotations

POOL = "pool"
MARKET = "market"
DATA_NODES = {POOL: "data"}  # without GPUs: they carry the data
GPU_NODES = {POOL: "gpu"}
DRIVER_NODES = {"role": "driver"}  # never taken away in the middle of a job
SPOT = {MARKET: "spot"}
ON_DEMAND = {MARKET: "on-demand"}
