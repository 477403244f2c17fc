"""Both towers behind one `forward`, which is what wrappers for training wrap.

Captions come in groups of similar length, each padded to its own bucket only, so that one long caption does not make
the whole batch as long. Text is causal and read at the first EOS, so this changes no embedding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from transformers import MetaClip2Model

from metaclip_core.caption_groups import CaptionGroups
from metaclip_core.embeddings import PairEmbeddings
from metaclip_core.model import encode_images, encode_texts


class PairEncoder(nn.Module):
    """`model`, embedding images and their captions at once."""

    def __init__(self, model: MetaClip2Model) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, pixels: torch.Tensor, groups: Sequence[torch.Tensor], order: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit vectors of images and of texts; plain tensors in a tuple, for wrappers look for those."""
        return encode_images(self.model, pixels), self.encode_groups(groups, order)

    def encode_groups(self, groups: Sequence[torch.Tensor], order: torch.Tensor) -> torch.Tensor:
        """The unit vectors of all groups' captions, row `order[i]` of the groups' rows as row i."""
        texts = torch.cat([encode_texts(self.model, group) for group in groups])
        return texts[order.to(texts.device)]


def encode_batch(encoder: nn.Module, pixels: torch.Tensor, captions: CaptionGroups) -> PairEmbeddings:
    """Unit vectors of uint8 `pixels` [n, 3, S, S] and of their captions; `encoder` is a PairEncoder or wraps one."""
    images, texts = encoder(pixels, captions.groups, captions.order)
    return PairEmbeddings(images, texts)
