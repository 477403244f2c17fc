"""AdamW as CLIP is trained with it: what decays, how the learning rate runs, where the logit scale may go."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import MetaClip2Model

MAX_LOGIT_SCALE = math.log(100)


def create_optimizer(
    model: nn.Module, *, learning_rate: float, betas: tuple[float, float], eps: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; gains, biases, the class embedding and the logit scale do not decay."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if parameter.ndim >= 2]  # noqa: PLR2004
    vectors = [parameter for parameter in trainable if parameter.ndim < 2]  # noqa: PLR2004
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=learning_rate,
        betas=betas,
        eps=eps,
        fused=True,
    )


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
