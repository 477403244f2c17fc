"""The losses over the global batch, whose features are gathered from all ranks with their gradients.

Local-loss form: a rank scores only its own rows against everybody's columns, so with n pairs on each of R ranks its
logits take n × nR and not nR × nR. What a rank returns is its share; the mean of the shares over the ranks is the
global loss. Gradients flow back through the gathering to the rank that made each feature, where they add up. After
DDP's averaging over the ranks, the gradient of every parameter therefore equals that of one process with the whole
batch.

Rows are scored in blocks. Where there are several, the logits of a block are made again in the backward pass instead of
being kept, so that memory holds one block of them; that costs one more product of features, little beside the towers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch.autograd.function import FunctionCtx
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

MOST_LOGITS = 2**26  # 256 MiB of float32; there are four of that size at the peak

_RowLoss = Callable[..., torch.Tensor]


def contrastive_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    logit_scale: torch.Tensor,
    *,
    group: dist.ProcessGroup | None = None,
    most_logits: int = MOST_LOGITS,
) -> torch.Tensor:
    """This rank's share, a scalar, of the symmetric cross-entropy over the global batch.

    Args:
        image_features: unit vectors [n, d]; n is the same on all ranks.
        text_features: unit vectors [n, d], row i the caption of image i.
        logit_scale: the natural logarithm of the factor on cosines, as the model holds it.
        group: the ranks that share the batch; by default all, or this process alone where no process group exists.
        most_logits: how many logits of each direction a block may have, one row at least.
    """
    if _ranks(group) == 1:
        all_images, all_texts = image_features, text_features
    else:
        all_images, all_texts = _Gather.apply(torch.stack([image_features, text_features], dim=1), group).unbind(1)

    def of_rows(images: torch.Tensor, texts: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        scale = logit_scale.exp()
        image_to_text = functional.cross_entropy(scale * images @ all_texts.T, labels, reduction="sum")
        text_to_image = functional.cross_entropy(scale * texts @ all_images.T, labels, reduction="sum")
        return (image_to_text + text_to_image) / 2

    first = _first_row(len(image_features), group)
    block_rows = max(1, most_logits // len(all_texts))
    return _mean_over_blocks(of_rows, image_features, text_features, first=first, block_rows=block_rows)


def sigmoid_loss(
    image_features: torch.Tensor,
    text_features: torch.Tensor,
    logit_scale: torch.Tensor,
    logit_bias: torch.Tensor,
    *,
    group: dist.ProcessGroup | None = None,
    most_logits: int = MOST_LOGITS,
) -> torch.Tensor:
    """This rank's share, a scalar, of SigLIP's loss (arXiv 2303.15343, 3.2): is this caption that image's, yes or no.

    Summed over all pairings and divided by the global batch, as published. Arguments as above; `logit_bias` is a scalar
    that is added to each logit.
    """
    all_texts = text_features if _ranks(group) == 1 else _Gather.apply(text_features, group)

    def of_rows(images: torch.Tensor, _texts: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        logits = logit_scale.exp() * images @ all_texts.T + logit_bias
        # −ln σ(−z) is softplus(z), and −ln σ(z) is softplus(z) − z
        return functional.softplus(logits).sum() - logits.gather(1, labels[:, None]).sum()

    first = _first_row(len(image_features), group)
    block_rows = max(1, most_logits // len(all_texts))
    return _mean_over_blocks(of_rows, image_features, text_features, first=first, block_rows=block_rows)


def _mean_over_blocks(
    of_rows: _RowLoss, images: torch.Tensor, texts: torch.Tensor, *, first: int, block_rows: int
) -> torch.Tensor:
    """The sum of `of_rows` over blocks of this rank's rows, divided by their number; row i has column `first` + i."""
    rows = len(images)
    labels = torch.arange(first, first + rows, device=images.device)
    with torch.autocast(images.device.type, enabled=False):  # logits of reduced precision move the softmax
        if block_rows >= rows:
            return of_rows(images, texts, labels) / rows
        blocks = zip(*(torch.split(part, block_rows) for part in (images, texts, labels)), strict=True)
        shares = [checkpoint(of_rows, *block, use_reentrant=False, preserve_rng_state=False) for block in blocks]
        return torch.stack(shares).sum() / rows


def _first_row(rows: int, group: dist.ProcessGroup | None) -> int:
    return 0 if _ranks(group) == 1 else rows * dist.get_rank(group)


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
