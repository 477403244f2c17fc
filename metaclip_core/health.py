"""Does this rank compute what a training relies on, and how fast: checks that take seconds, on a GPU or a CPU.

All ranks run them together. A check returns what it measured, or raises `UnhealthyError` with what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.utils.flop_counter import FlopCounterMode
from transformers import MetaClip2Model

from metaclip_core.batches import Batch, caption_buckets
from metaclip_core.capacity import peak_flops
from metaclip_core.caption_groups import group_captions
from metaclip_core.captions import SpecialIds
from metaclip_core.devices import without_bfloat16
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import model_config
from metaclip_core.optimizer import create_optimizer
from metaclip_core.pair_encoder import PairEncoder, encode_batch
from metaclip_core.parallel import average_scalars_, compile_layers_, replicate, shard_
from metaclip_core.shapes import SHAPES, ModelShape, Preset

_FRAME = SpecialIds(bos=0, eos=2, pad=1)
_VOCABULARY = 32_768
_COPIED_BYTES = 64 << 20
_WARM_STEPS, _STEPS = 3, 10

Check = Callable[[torch.device], str]


class UnhealthyError(Exception):
    """Something that a training relies on does not hold."""


def check_gather(device: torch.device) -> str:
    """The loss over all ranks, and its gradients, are those of one process with the whole batch."""
    ranks, rank = (dist.get_world_size(), dist.get_rank()) if dist.is_initialized() else (1, 0)
    rows = 8
    features = _features(2 * ranks * rows, device).chunk(2)
    whole = [part.clone().requires_grad_() for part in features]
    scale = torch.tensor(2.0, device=device)
    own = slice(rank * rows, (rank + 1) * rows)
    local = [part[own].clone().requires_grad_() for part in features]
    contrastive_loss(local[0], local[1], scale).backward()  # type: ignore[no-untyped-call]
    logits = scale.exp() * whole[0] @ whole[1].T
    labels = torch.arange(len(logits), device=device)
    loss = (nn.functional.cross_entropy(logits, labels) + nn.functional.cross_entropy(logits.T, labels)) / 2
    loss.backward()  # type: ignore[no-untyped-call]
    error = max(
        float((ours.grad / ranks - theirs.grad[own]).abs().max())  # type: ignore[operator,index]
        for ours, theirs in zip(local, whole, strict=True)
    )
    if error > 1e-4:  # noqa: PLR2004
        raise UnhealthyError(f"gradients that were gathered from {ranks} ranks are off by {error:.1e}")
    return f"{ranks} ranks, gradients within {error:.0e}"


def check_bfloat16(device: torch.device) -> str:
    """Autocast computes in bfloat16, about as it should."""
    if problem := without_bfloat16(device):
        raise UnhealthyError(problem)
    a, b = _features(256, device).chunk(2)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        product = a @ b.T
    error = float((product.float() - a @ b.T).abs().max())
    if product.dtype is not torch.bfloat16 or error > 0.05:  # noqa: PLR2004
        raise UnhealthyError(f"autocast gives {product.dtype}, off by {error:.1e}")
    return f"products within {error:.0e}"


def check_optimizer(device: torch.device) -> str:
    """The fused optimiser takes the step that the plain one takes."""
    weights = [_features(64, device).requires_grad_() for _ in range(2)]
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    options = {"lr": 0.1, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.2}
    torch.optim.AdamW([weights[0]], fused=True, **options).step()  # type: ignore[arg-type]
    torch.optim.AdamW([weights[1]], fused=False, foreach=False, **options).step()  # type: ignore[arg-type]
    error = float((weights[0] - weights[1]).detach().abs().max())
    if error > 1e-5:  # noqa: PLR2004
        raise UnhealthyError(f"the fused AdamW is off by {error:.1e}")
    return "the fused AdamW agrees with the plain one"


def check_compile(device: torch.device) -> str:
    """Compiled layers give what plain ones give."""
    started = time.perf_counter()
    plain, compiled = (_model(SHAPES[Preset.TINY], device) for _ in range(2))
    compile_layers_(compiled)
    batch = _batch(SHAPES[Preset.TINY], 8, device)
    pairs = [encode_batch(PairEncoder(model), batch.pixels, batch.captions) for model in (plain, compiled)]
    error = float((pairs[0].images - pairs[1].images).detach().abs().max())
    if error > 1e-3:  # noqa: PLR2004
        raise UnhealthyError(f"compiled layers are off by {error:.1e}")
    return f"layers compiled in {time.perf_counter() - started:.0f} s, within {error:.0e}"


def check_sharding(device: torch.device) -> str:
    """A sharded model has the loss of a replicated one."""
    if not dist.is_initialized():
        return "one rank: nothing to shard over"
    losses = []
    for sharded in (False, True):
        encoder = PairEncoder(_model(SHAPES[Preset.TINY], device))
        wrapped: nn.Module = encoder
        if sharded:
            mesh = init_device_mesh(device.type, (dist.get_world_size(),))
            shard_(encoder, mesh, precision=torch.float32)
        else:
            wrapped = replicate(encoder)
        batch = _batch(SHAPES[Preset.TINY], 8, device)
        pairs = encode_batch(wrapped, batch.pixels, batch.captions)
        share = contrastive_loss(pairs.images, pairs.texts, encoder.model.logit_scale)
        share.backward()  # type: ignore[no-untyped-call]
        if sharded:
            average_scalars_(encoder)
        losses.append(float(share.detach()))
    if abs(losses[0] - losses[1]) > 1e-4:  # noqa: PLR2004
        raise UnhealthyError(f"sharded, the loss is {losses[1]:.5f}, and {losses[0]:.5f} replicated")
    return f"{dist.get_world_size()} ranks, the loss of a replicated model"


def check_copies(device: torch.device) -> str:
    """Pinned memory reaches the device, and how fast."""
    if device.type == "cpu":
        return "no device to copy to"
    source = torch.ones(_COPIED_BYTES, dtype=torch.uint8).pin_memory()
    seconds = _seconds(lambda: source.to(device, non_blocking=True), device, times=10)
    return f"{_COPIED_BYTES / seconds / 1e9:.1f} GB/s from pinned memory"


def measure_steps(device: torch.device, *, preset: Preset, rows: int, bfloat16: bool) -> str:
    """Training steps of a preset on made-up pairs: images a second, and the share of the device's peak.

    Raises:
        UnhealthyError: they do not fit the device's memory.
    """
    shape = SHAPES[preset]
    try:
        model = _model(shape, device)
        encoder = PairEncoder(model)
        wrapped: nn.Module = replicate(encoder) if dist.is_initialized() else encoder
        optimizer = create_optimizer(model, learning_rate=1e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.1)
        batch = _batch(shape, rows, device)
        cast: AbstractContextManager[object] = (
            torch.autocast(device.type, dtype=torch.bfloat16) if bfloat16 else nullcontext()
        )

        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with cast:
                pairs = encode_batch(wrapped, batch.pixels, batch.captions)
            contrastive_loss(pairs.images, pairs.texts, model.logit_scale).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        with FlopCounterMode(display=False) as counter:
            step()
        times = _STEPS if device.type == "cuda" else 2
        seconds = _seconds(step, device, times=times)
    except torch.cuda.OutOfMemoryError as error:
        raise UnhealthyError(f"{rows} pairs of {preset} do not fit {torch.cuda.get_device_name(device)}") from error
    told = f"{preset}, {rows} pairs a rank: {rows / seconds:,.0f} images/s a rank"
    peak = _peak(device) if bfloat16 else None
    return told if peak is None else f"{told}, {counter.get_total_flops() / seconds / peak:.0%} of the peak"


def _peak(device: torch.device) -> float | None:
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return peak_flops(name)


def _seconds(run: Callable[[], object], device: torch.device, *, times: int) -> float:
    for _ in range(_WARM_STEPS if device.type == "cuda" else 1):
        run()
    _wait(device)
    started = time.perf_counter()
    for _ in range(times):
        run()
    _wait(device)
    return (time.perf_counter() - started) / times


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _features(rows: int, device: torch.device) -> torch.Tensor:
    made = torch.randn(rows, 64, generator=torch.Generator().manual_seed(0))
    return nn.functional.normalize(made, dim=1).to(device)


def _model(shape: ModelShape, device: torch.device) -> MetaClip2Model:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MetaClip2Model(model_config(shape, vocab_size=_VOCABULARY, frame=_FRAME))
    model.to(device)  # type: ignore[arg-type] # transformers' decorator hides the method's type
    return model


def _batch(shape: ModelShape, rows: int, device: torch.device) -> Batch:
    """Captions of 4 tokens to a third of the context, which is about what the web's have."""
    generator = torch.Generator().manual_seed(0)
    size = shape.image_size
    pixels = torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator)
    lengths = torch.randint(2, shape.context_length // 3, (rows,), generator=generator).tolist()
    ids = [[0, *torch.randint(4, _VOCABULARY, (length,), generator=generator).tolist(), 2] for length in lengths]
    captions = group_captions(
        ids, group_rows=max(1, rows // 4), buckets=caption_buckets(shape.context_length), pad_id=_FRAME.pad
    )
    return Batch(pixels, captions).to(device)


CHECKS: dict[str, Check] = {
    "gathered gradients": check_gather,
    "bfloat16": check_bfloat16,
    "fused optimiser": check_optimizer,
    "compiled layers": check_compile,
    "sharded model": check_sharding,
    "pinned copies": check_copies,
}
