"""Embeddings of images and of their captions: unit vectors in at least float32, whatever precision they come from."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class PairEmbeddings:
    """Unit vectors [n, embedding_width] of n images and their n captions."""

    images: torch.Tensor
    texts: torch.Tensor


def unit(features: torch.Tensor) -> torch.Tensor:
    """`features` [n, d], each row divided by its length, in float32 or what is more precise."""
    return functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)
