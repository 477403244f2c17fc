"""Retrieval both ways between images and captions, where an image may have several captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

_QUERY_ROWS = 1024  # similarities are made for so many queries at a time, so that memory stays bounded


@dataclass(frozen=True)
class Recall:
    """recall@k in [0, 1] by k: the share of queries with a right answer among the k nearest."""

    image_to_text: Mapping[int, float]
    text_to_image: Mapping[int, float]


def recall_at_k(
    image_embeddings: torch.Tensor, text_embeddings: torch.Tensor, text_to_image: torch.Tensor, *, ks: Sequence[int]
) -> Recall:
    """Both directions. A wrong candidate that ties with the best right one counts as nearer, so no tie helps.

    Args:
        image_embeddings: [n, d].
        text_embeddings: [m, d].
        text_to_image: int64 [m], each caption's row of `image_embeddings`.
        ks: the k to report.

    Raises:
        ValueError: an image has no caption, so that nothing could be right for it.
    """
    captions_of = torch.bincount(text_to_image, minlength=len(image_embeddings))
    if len(captions_of) != len(image_embeddings) or not len(captions_of) or not captions_of.all():
        raise ValueError("every image needs a caption and every caption an image of the set")
    images = torch.arange(len(image_embeddings), device=text_to_image.device)
    return Recall(
        image_to_text=_recall(image_embeddings, text_embeddings, images, text_to_image, ks=ks),
        text_to_image=_recall(text_embeddings, image_embeddings, text_to_image, images, ks=ks),
    )


def _recall(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    query_images: torch.Tensor,
    candidate_images: torch.Tensor,
    *,
    ks: Sequence[int],
) -> dict[int, float]:
    nearer = []
    for rows, of_images in zip(torch.split(queries, _QUERY_ROWS), torch.split(query_images, _QUERY_ROWS), strict=True):
        similarity = rows @ candidates.T
        right = of_images[:, None] == candidate_images[None, :]
        best_right = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
        nearer.append(((similarity >= best_right) & ~right).sum(dim=1))
    ahead = torch.cat(nearer)
    return {k: (ahead < k).double().mean().item() for k in ks}
