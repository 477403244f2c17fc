"""The contrastive loss over the global batch, whose features are gathered from all ranks with their gradients.

Local-loss form: a rank scores only its own rows against everybody's columns, so with n pairs on each of R ranks its
logits take n × nR and not nR × nR. What a rank returns is its share; the mean of the shares over the ranks is the
global loss. Gradients flow back through the gathering to the rank that made each feature, where they add up. After
DDP's averaging over the ranks, the gradient of every parameter therefore equals that of one process with the whole
batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch.autograd.function import FunctionCtx
from torch.nn import functional


def contrastive_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    logit_scale: torch.Tensor,
    *,
    group: dist.ProcessGroup | None = None,
) -> torch.Tensor:
    """This rank's share, a scalar, of the symmetric cross-entropy over the global batch.

    Args:
        image_features: unit vectors [n, d]; n is the same on all ranks.
        text_features: unit vectors [n, d], row i the caption of image i.
        logit_scale: the natural logarithm of the factor on cosines, as the model holds it.
        group: the ranks that share the batch; by default all, or this process alone where no process group exists.
    """
    scale = logit_scale.exp()
    rows = image_features.shape[0]
    if _ranks(group) == 1:
        all_images, all_texts, first = image_features, text_features, 0
    else:
        all_images, all_texts = _Gather.apply(torch.stack([image_features, text_features], dim=1), group).unbind(1)
        first = rows * dist.get_rank(group)
    labels = torch.arange(first, first + rows, device=image_features.device)
    image_to_text = functional.cross_entropy(scale * image_features @ all_texts.T, labels)
    text_to_image = functional.cross_entropy(scale * text_features @ all_images.T, labels)
    return (image_to_text + text_to_image) / 2


def _ranks(group: dist.ProcessGroup | None) -> int:
    if not dist.is_available() or not dist.is_initialized():
        return 1
    return dist.get_world_size(group)


class _Gather(torch.autograd.Function):
    """All ranks' tensors joined along the first dimension; backward gives a rank the sum of its slice's gradients."""

    @staticmethod
    def forward(ctx: FunctionCtx, local: torch.Tensor, group: dist.ProcessGroup | None) -> torch.Tensor:
        ctx.group = group  # type: ignore[attr-defined]
        gathered = local.new_empty(local.shape[0] * dist.get_world_size(group), *local.shape[1:])
        dist.all_gather_single(gathered, local.contiguous(), group)
        return gathered

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        group: dist.ProcessGroup | None = ctx.group  # type: ignore[attr-defined]
        local = gradient.new_empty(gradient.shape[0] // dist.get_world_size(group), *gradient.shape[1:])
        dist.reduce_scatter_single(local, gradient.contiguous(), group=group)
        return local, None
