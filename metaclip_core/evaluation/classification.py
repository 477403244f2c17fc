"""Zero-shot classification: a class is the mean of its prompts' embeddings, an image belongs to the nearest class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] by k: over all images, and as the mean over the classes that have images."""

    top: Mapping[int, float]
    top_per_class: Mapping[int, float]


def prompts(class_names: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every class name in every template, at its `{}`; class by class, as `class_embeddings` expects them.

    Raises:
        ValueError: a template has no `{}`.
    """
    without = [template for template in templates if "{}" not in template]
    if without:
        raise ValueError(f"a template must hold {{}} for the class name; {without[0]!r} does not")
    return [template.replace("{}", name) for name in class_names for template in templates]


def class_embeddings(prompt_embeddings: torch.Tensor, *, num_templates: int) -> torch.Tensor:
    """Unit vectors [classes, d]: of each class the direction of the mean over its templates.

    Args:
        prompt_embeddings: unit vectors [classes · num_templates, d], class by class.
        num_templates: prompts of each class.

    Raises:
        ValueError: the rows are no multiple of `num_templates`.
    """
    rows, width = prompt_embeddings.shape
    if num_templates < 1 or rows % num_templates:
        raise ValueError(f"{rows} prompt embeddings can't be shared out over classes of {num_templates} templates")
    return functional.normalize(prompt_embeddings.view(-1, num_templates, width).mean(dim=1), dim=-1)


def top_k_accuracy(
    image_embeddings: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor, *, ks: Sequence[int]
) -> Accuracy:
    """How often an image's class is among its k nearest. A class that ties with the right one counts as nearer.

    Args:
        image_embeddings: [n, d], n > 0.
        classes: [c, d], see `class_embeddings`.
        labels: int64 [n], rows of `classes`.
        ks: the k to report; one above c is met by every image.

    Raises:
        ValueError: there are no images.
    """
    if not len(labels):
        raise ValueError("no images to classify")
    similarity = image_embeddings @ classes.T
    right = similarity.gather(1, labels[:, None])
    nearer = (similarity >= right).sum(dim=1) - 1  # the right one is among the >=
    images_of = torch.bincount(labels, minlength=len(classes))
    present = images_of > 0
    top, top_per_class = {}, {}
    for k in ks:
        hits = (nearer < k).double()
        top[k] = hits.mean().item()
        hits_of = torch.zeros(len(classes), dtype=torch.float64, device=hits.device).index_add(0, labels, hits)
        top_per_class[k] = (hits_of[present] / images_of[present]).mean().item()
    return Accuracy(top=top, top_per_class=top_per_class)
