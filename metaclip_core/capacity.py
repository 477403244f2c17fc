"""What a pool and a training cost: hours of cores and of GPUs, bytes, money, and what the time goes to.

Arithmetic over rates that were measured on one core, each with the file that says how. What was never measured, the
share of a GPU's peak that a training reaches, is the caller's to state. Curation is taken to read every byte of the
pool once, for captions stand between images, and training the images that it draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from metaclip_core.shapes import ModelShape, TowerShape

_HOUR_S = 3_600
_BACKWARD = 3  # forward and backward, by the FLOPs of forward alone
_STATE_BYTES = 12  # of a parameter in a checkpoint: its weight and AdamW's two moments, float32
_BITS = 8
_PEAK_FLOPS = {  # dense bfloat16, by what a GPU's name holds; its maker's figures
    "B200": 2.25e15,
    "H200": 989e12,
    "H100": 989e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
}


@dataclass(frozen=True)
class Rate:
    """A measured cost, and where it is filed below tests/benchmarks/results."""

    value: float
    unit: str
    of: str
    filed: str


READ_PAIRS = Rate(6_204, "pairs/s/core", "captions pass over tar shards", "2026-11-23-tar.md")
MATCH_CAPTIONS = Rate(32_689, "captions/s/core", "identification and matching", "2026-11-23-matching.md")
JOB_SHARE = Rate(0.85, "of plain processes' rate", "the curate job on all cores", "2026-11-23-curate.md")
DRAW_SECONDS = Rate(16.5e-6, "s/pair of a shard/core", "annotated feed, drawn or not", "2026-11-23-feed-modes.md")
DECODE_SECONDS = Rate(4.0e-3, "s/image/core", "JPEGs of 1,024 × 1,024 pixels", "2026-11-23-decode.md")
RATES = (READ_PAIRS, MATCH_CAPTIONS, JOB_SHARE, DRAW_SECONDS, DECODE_SECONDS)


class Limit(StrEnum):
    """What a phase waits for."""

    CORES = "cores of data nodes"
    STORE = "network to the store"
    FEED = "network to the GPUs"
    GPUS = "GPUs"


@dataclass(frozen=True)
class Workload:
    """What is to be done."""

    pairs: float  # of the pool
    seen: float  # in training
    shape: ModelShape
    vocab_size: int
    kept_share: float  # of the pool's pairs, that an epoch draws
    captions_per_pair: float
    image_bytes: float
    caption_tokens: float  # of a caption with its padding
    decode_s: float = DECODE_SECONDS.value


@dataclass(frozen=True)
class NodeKind:
    """A machine and its price."""

    cpus: int
    gbps: float  # of its network, bits
    per_hour: float
    gpus: int = 0
    peak_flops: float = 0.0  # of one of its GPUs


@dataclass(frozen=True)
class Fleet:
    """What it is done with."""

    data_nodes: int
    gpu_nodes: int
    data: NodeKind
    gpu: NodeKind
    utilisation: float  # the share of a GPU's peak that training reaches


@dataclass(frozen=True)
class Phase:
    """One of the two passes."""

    hours: dict[Limit, float]  # that each would take if it alone counted
    read_bytes: float
    cost: float

    @property
    def bottleneck(self) -> Limit:
        """What takes longest."""
        return max(self.hours, key=lambda limit: self.hours[limit])

    @property
    def takes_hours(self) -> float:
        """All overlap, so the longest is what it takes."""
        return self.hours[self.bottleneck]


@dataclass(frozen=True)
class CapacityPlan:
    """What is to be expected."""

    curate: Phase
    train: Phase
    epochs: float
    gpu_hours: float
    pool_bytes: float
    checkpoint_bytes: float
    balanced_data_nodes: float  # that would just keep the GPUs busy


def forward_flops(shape: ModelShape, caption_tokens: float) -> float:
    """FLOPs of embedding one pair, a multiplication and an addition being two."""
    patches = (shape.image_size // shape.patch_size) ** 2
    pixels = 3 * shape.patch_size**2
    vision = _tower_flops(shape.vision, patches + 1) + 2 * patches * pixels * shape.vision.width
    text = _tower_flops(shape.text, caption_tokens)
    heads = 2 * shape.embedding_width * (shape.vision.width + shape.text.width)
    return vision + text + heads


def peak_flops(gpu: str) -> float | None:
    """Of a GPU whose name holds one that is known, in dense bfloat16; None for others."""
    return next((flops for part, flops in _PEAK_FLOPS.items() if part in gpu), None)


def _tower_flops(tower: TowerShape, tokens: float) -> float:
    weights = 4 * tower.width**2 + 2 * tower.width * tower.mlp_width
    return tower.layers * (2 * tokens * weights + 4 * tokens**2 * tower.width)


def parameters(shape: ModelShape, vocab_size: int) -> float:
    """Of both towers and their embeddings, without biases and norms."""
    towers = sum(
        tower.layers * (4 * tower.width**2 + 2 * tower.width * tower.mlp_width) for tower in (shape.vision, shape.text)
    )
    patches = (shape.image_size // shape.patch_size) ** 2
    vision = shape.vision.width * (3 * shape.patch_size**2 + patches + 1 + shape.embedding_width)
    text = shape.text.width * (vocab_size + shape.context_length + shape.embedding_width)
    return towers + vision + text


def plan(workload: Workload, fleet: Fleet) -> CapacityPlan:
    """What curating the pool once and training on its draws take with the fleet."""
    pool_bytes = workload.pairs * workload.image_bytes
    data_rate = fleet.data_nodes * fleet.data.gbps * 1e9 / _BITS
    cores = fleet.data_nodes * fleet.data.cpus
    pair_s = (1 / READ_PAIRS.value + workload.captions_per_pair / MATCH_CAPTIONS.value) / JOB_SHARE.value
    data_price = fleet.data_nodes * fleet.data.per_hour
    curate = _phase(
        {Limit.CORES: workload.pairs * pair_s / cores, Limit.STORE: pool_bytes / data_rate},
        read_bytes=pool_bytes,
        per_hour=data_price,
    )
    seen_s = DRAW_SECONDS.value / workload.kept_share + workload.decode_s
    flops = workload.seen * _BACKWARD * forward_flops(workload.shape, workload.caption_tokens)
    gpus = fleet.gpu_nodes * fleet.gpu.gpus
    gpu_rate = fleet.gpu_nodes * fleet.gpu.gbps * 1e9 / _BITS
    gpu_s = flops / (fleet.gpu.peak_flops * fleet.utilisation)
    seen_bytes = workload.seen * workload.image_bytes
    train = _phase(
        {
            Limit.GPUS: gpu_s / gpus,
            Limit.CORES: workload.seen * seen_s / cores,
            Limit.STORE: seen_bytes / data_rate,
            Limit.FEED: workload.seen * _pixel_bytes(workload.shape) / min(data_rate, gpu_rate),
        },
        read_bytes=seen_bytes,
        per_hour=data_price + fleet.gpu_nodes * fleet.gpu.per_hour,
    )
    others = max(hours for limit, hours in train.hours.items() if limit != Limit.GPUS)
    return CapacityPlan(
        curate=curate,
        train=train,
        epochs=workload.seen / (workload.pairs * workload.kept_share),
        gpu_hours=train.takes_hours * gpus,
        pool_bytes=pool_bytes,
        checkpoint_bytes=_STATE_BYTES * parameters(workload.shape, workload.vocab_size),
        balanced_data_nodes=fleet.data_nodes * others / train.hours[Limit.GPUS],
    )


def _pixel_bytes(shape: ModelShape) -> int:
    return 3 * shape.image_size**2  # uint8, as decoded images travel


def _phase(seconds: dict[Limit, float], *, read_bytes: float, per_hour: float) -> Phase:
    hours = {limit: needed / _HOUR_S for limit, needed in seconds.items()}
    return Phase(hours, read_bytes, cost=max(hours.values()) * per_hour)
