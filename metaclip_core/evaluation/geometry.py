"""Alignment and uniformity of embeddings on pairs (Wang and Isola, arXiv 2005.10242), with their constants α = t = 2.

Alignment is how far a caption is from its image, on average: lower is better. Uniformity is how evenly embeddings
spread over the sphere, the logarithm of a Gaussian potential: lower is more even.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

ALPHA = 2
T = 2


@dataclass(frozen=True)
class Geometry:
    """Of n pairs; uniformity of the images and of the texts apart."""

    alignment: float
    uniformity_images: float
    uniformity_texts: float


def geometry(images: torch.Tensor, texts: torch.Tensor) -> Geometry:
    """Unit vectors [n, d] of images and of their captions, row by row.

    Raises:
        ValueError: fewer than two pairs, which have no distance from each other.
    """
    if len(images) < 2:  # noqa: PLR2004
        raise ValueError("geometry needs two pairs at least")
    return Geometry(
        alignment=(images - texts).norm(dim=1).pow(ALPHA).mean().item(),
        uniformity_images=_uniformity(images),
        uniformity_texts=_uniformity(texts),
    )


def _uniformity(embeddings: torch.Tensor) -> float:
    return torch.pdist(embeddings).pow(2).mul(-T).exp().mean().log().item()
