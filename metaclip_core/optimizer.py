"""AdamW as CLIP is trained with it: what decays, how the learning rate runs, where the logit scale may go."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from transformers import MetaClip2Model

MAX_LOGIT_SCALE = math.log(100)
_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def create_optimizer(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; gains, biases, the class embedding and the logit scale do not decay.

    It is fused where the device has such a kernel. That one takes no mixture of sharded and whole tensors, and scalars
    are never sharded, so they have a group of their own.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]  # noqa: PLR2004
    vectors = [parameter for parameter in trainable if parameter.ndim == 1]
    scalars = [parameter for parameter in trainable if parameter.ndim == 0]
    groups = [(matrices, weight_decay), (vectors, 0.0), (scalars, 0.0)]
    return torch.optim.AdamW(
        [{"params": parameters, "weight_decay": decay} for parameters, decay in groups if parameters],
        lr=learning_rate,
        betas=betas,
        eps=eps,
        fused={parameter.device.type for parameter in trainable} <= _FUSED_DEVICES,
    )


def clip_gradients_(parameters: Iterable[nn.Parameter], *, max_norm: float) -> float:
    """Scale all gradients by one factor so that their joint 2-norm is at most `max_norm`; returns it as it was.

    Of sharded gradients the norm is that of the whole, so that all ranks get the same one.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    sharded: list[torch.Tensor] = [gradient for gradient in gradients if isinstance(gradient, DTensor)]
    whole: list[torch.Tensor] = [gradient for gradient in gradients if not isinstance(gradient, DTensor)]
    norms = [_norm(part) for part in (sharded, whole) if part]
    norm = math.hypot(*norms)
    factor = max_norm / (norm + 1e-6)
    if factor < 1:
        for part in (sharded, whole):
            if part:
                torch._foreach_mul_(part, factor)
    return norm


def _norm(gradients: list[torch.Tensor]) -> float:
    norm = nn.utils.get_total_norm(gradients)
    return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def learning_rate_at(step: int, *, peak: float, warmup_steps: int, total_steps: int) -> float:
    """The learning rate of `step` (0 is the first): linear up to `peak`, then half a cosine, 0 from `total_steps` on.

    The last step of the warm-up, `warmup_steps - 1`, runs at the peak; the first is never at 0.

    Raises:
        ValueError: the warm-up is longer than the training.
    """
    if not 0 <= warmup_steps <= total_steps:
        raise ValueError(f"warmup_steps {warmup_steps} must lie between 0 and total_steps {total_steps}")
    if step >= total_steps:
        return 0.0
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / (total_steps - warmup_steps)
    return peak * (1 + math.cos(math.pi * progress)) / 2


def clamp_logit_scale_(model: MetaClip2Model) -> None:
    """Bring the model's logit scale back into [0, ln 100], in place; to be called after each step."""
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
