"""Zero-shot classification: a class is the mean of its prompts' embeddings, an image belongs to the nearest class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from metaclip_core.evaluation.ranking import NOWHERE, Tally, hits, wrong_ahead

ClassName = str | Sequence[str] | None  # several mean the same; None: nameless in a language
MANY_LABELS = -1  # where an image has fewer labels than others of its set
_IMAGE_ROWS = 1024  # that are compared with all classes at a time


@dataclass(frozen=True)
class Accuracy:
    """By k: the images whose class is among the k nearest, and the mean over classes of their share in [0, 1]."""

    top: Mapping[int, Tally]
    top_per_class: Mapping[int, float]  # empty where images have several labels


def prompts(names: ClassName, templates: Sequence[str]) -> list[str]:
    """Every name of a class in every template, at its `{}`.

    Raises:
        ValueError: a template has no `{}`.
    """
    without = [template for template in templates if "{}" not in template]
    if without:
        raise ValueError(f"a template must hold {{}} for the class name; {without[0]!r} does not")
    spelt = [names] if isinstance(names, str) else names or []
    return [template.replace("{}", name) for name in spelt for template in templates]


def mean_direction(embeddings: torch.Tensor) -> torch.Tensor:
    """The unit vector [d] of the mean of unit vectors [n, d], n > 0: of a class, from its prompts."""
    return functional.normalize(embeddings.mean(dim=0), dim=-1)


def among_named(labels: torch.Tensor, named: Sequence[int], num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out the classes without a name, as Babel-ImageNet does.

    Args:
        labels: int64 [n, l] in [0, num_classes), or MANY_LABELS.
        named: the classes that have a name, ascending.
        num_classes: of the set.

    Returns:
        Which images bool [n] have a class that is named, and their labels int64 [m, l] as places in `named`.
    """
    place = torch.full((num_classes + 1,), MANY_LABELS)  # the last is that of MANY_LABELS
    place[torch.tensor(named, dtype=torch.int64)] = torch.arange(len(named))
    among = place[labels]
    rows = (among >= 0).any(dim=1)
    return rows, among[rows]


def top_k_accuracy(
    image_embeddings: torch.Tensor,
    classes: torch.Tensor,
    labels: torch.Tensor,
    *,
    ks: Sequence[int],
    decoded: torch.Tensor | None = None,
) -> Accuracy:
    """How often an image's class is among its k nearest. Of several labels one is enough (Dollar Street).

    Args:
        image_embeddings: [n, d], n > 0.
        classes: [c, d].
        labels: int64 [n] or [n, l], rows of `classes`; MANY_LABELS fills up rows with fewer labels.
        ks: the k to report; one above c is met by every image.
        decoded: bool [n]; an image that did not decode is wrong. None: all did.

    Raises:
        ValueError: there are no images, or a label is no row of `classes`.
    """
    if not len(labels):
        raise ValueError("no images to classify")
    several = labels if labels.ndim == 2 else labels[:, None]  # noqa: PLR2004 - [n, l]
    if (several >= len(classes)).any() or (several < MANY_LABELS).any() or (several.amax(dim=1) < 0).any():
        raise ValueError(f"a label is none of the {len(classes)} classes")

    def right(rows: slice) -> torch.Tensor:
        marked = torch.zeros(rows.stop - rows.start, len(classes) + 1, dtype=torch.bool, device=several.device)
        return marked.scatter(1, several[rows] % (len(classes) + 1), value=True)[:, :-1]  # MANY_LABELS: the last column

    ahead = wrong_ahead(image_embeddings, classes, right)
    if decoded is not None:
        ahead = torch.where(decoded, ahead, NOWHERE)
    asked = np.ones(len(ahead))
    top = {k: Tally(hits(ahead, k), asked) for k in ks}
    if several.shape[1] > 1:
        return Accuracy(top, {})
    images_of = np.bincount(several[:, 0].cpu().numpy(), minlength=len(classes))
    present = images_of > 0
    per_class = {}
    for k in ks:
        right_of = np.bincount(several[:, 0].cpu().numpy(), weights=top[k].right, minlength=len(classes))
        per_class[k] = float((right_of[present] / images_of[present]).mean())
    return Accuracy(top, per_class)


def confusions(image_embeddings: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor) -> npt.NDArray[np.int64]:
    """int64 [c, c]: of the images of a class (row) how many are nearest to each (column).

    Args:
        image_embeddings: [n, d].
        classes: [c, d].
        labels: int64 [n], rows of `classes`.
    """
    nearest = [(rows @ classes.T).argmax(dim=1) for rows in torch.split(image_embeddings, _IMAGE_ROWS)]
    cells = labels * len(classes) + torch.cat([labels.new_zeros(0), *nearest])
    return torch.bincount(cells, minlength=len(classes) ** 2).reshape(len(classes), -1).numpy()
