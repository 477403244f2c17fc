"""Retrieval both ways between images and captions, where an image may have several captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metaclip_core.evaluation.ranking import NOWHERE, Tally, hits, wrong_ahead


@dataclass(frozen=True)
class Recall:
    """recall@k by k, counted by image: the queries with a right answer among the k nearest."""

    image_to_text: Mapping[int, Tally]
    text_to_image: Mapping[int, Tally]


def recall_at_k(
    image_embeddings: torch.Tensor,
    text_embeddings: torch.Tensor,
    text_to_image: torch.Tensor,
    *,
    ks: Sequence[int],
    decoded: torch.Tensor | None = None,
) -> Recall:
    """Both directions. An image is found by any of its captions; every caption is a query of its own.

    Args:
        image_embeddings: [n, d].
        text_embeddings: [m, d].
        text_to_image: int64 [m], each caption's row of `image_embeddings`.
        ks: the k to report.
        decoded: bool [n]; an image that did not decode finds nothing and is not found. None: all did.

    Raises:
        ValueError: an image has no caption, so that nothing could be right for it.
    """
    num_images = len(image_embeddings)
    captions_of = torch.bincount(text_to_image, minlength=num_images)
    if len(captions_of) != num_images or not num_images or not captions_of.all():
        raise ValueError("every image needs a caption and every caption an image of the set")
    images = torch.arange(num_images, device=text_to_image.device)
    to_text = wrong_ahead(image_embeddings, text_embeddings, lambda rows: images[rows, None] == text_to_image[None, :])
    if decoded is not None:
        to_text = torch.where(decoded, to_text, NOWHERE)
    to_image = wrong_ahead(
        text_embeddings, image_embeddings, lambda rows: text_to_image[rows, None] == images[None, :], there=decoded
    )
    owner, asked = text_to_image.cpu().numpy(), captions_of.double().cpu().numpy()
    return Recall(
        image_to_text={k: Tally(hits(to_text, k), np.ones(num_images)) for k in ks},
        text_to_image={
            k: Tally(np.bincount(owner, weights=hits(to_image, k), minlength=num_images).astype(np.float64), asked)
            for k in ks
        },
    )
