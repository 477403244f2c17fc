"""Panels to look at: images of a retrieval set with the captions that a model puts first, and the reverse."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from metaclip_core.balancing import ENGLISH
from metaclip_core.records import DropReason
from metaclip_core.thumbnails import thumbnail
from pipelines.embed import MAX_PIXELS, EmbeddedImages
from pipelines.evaluation_sets import EvaluationSet, StoredImages

_QUERIES = 6  # of each kind, spread over the set
_ANSWERS = 3
_LANGUAGES = 4
_SIZE = 112


@dataclass(frozen=True)
class Answer:
    """A caption or picture, and whether it belongs to what was asked."""

    shown: str
    right: bool


@dataclass(frozen=True)
class Panel:
    """Of one set in one language: pictures with captions, captions with pictures; pictures are `data:` URIs."""

    dataset: str
    language: str
    captions_of: list[tuple[str, list[Answer]]]
    pictures_of: list[tuple[str, list[Answer]]]


class Panels:
    """Collects the panels of an evaluation."""

    def __init__(self) -> None:
        self._panels: list[Panel] = []

    def add(self, dataset: EvaluationSet, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> None:
        """The panels of a set, where it has captions: in English and the first other languages."""
        if dataset.content["task"] != "retrieval" or not images.decoded.any():
            return
        captions: Mapping[str, Sequence[Sequence[str]]] = dataset.content["captions"]
        chosen = sorted(captions, key=lambda language: language != ENGLISH)[:_LANGUAGES]
        asked = _spread(torch.nonzero(images.decoded).flatten().tolist())
        found = {language: _nearest(images, texts[language], captions[language], asked) for language in chosen}
        shown = {row for nearest in found.values() for rows in nearest.images for row in rows} | set(asked)
        pictures = _pictures(dataset.images, shown)
        for language, nearest in found.items():
            flat, owner = _flat(captions[language])
            self._panels.append(
                Panel(
                    dataset.name,
                    language,
                    [
                        (pictures[image], [Answer(flat[row], owner[row] == image) for row in rows])
                        for image, rows in zip(asked, nearest.captions, strict=True)
                    ],
                    [
                        (captions[language][image][0], [Answer(pictures[row], row == image) for row in rows])
                        for image, rows in zip(asked, nearest.images, strict=True)
                    ],
                )
            )

    def content(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(panel) for panel in self._panels]


@dataclass(frozen=True)
class _Nearest:
    """Of each image asked about the nearest captions, and of its first caption the nearest images; rows."""

    captions: list[list[int]]
    images: list[list[int]]


def _nearest(
    images: EmbeddedImages, texts: torch.Tensor, captions: Sequence[Sequence[str]], asked: Sequence[int]
) -> _Nearest:
    firsts = np.cumsum([0, *(len(of_image) for of_image in captions)])[:-1]
    to_text = images.embeddings[asked] @ texts.T
    to_image = (texts[firsts[asked].tolist()] @ images.embeddings.T).masked_fill(~images.decoded, -torch.inf)
    return _Nearest(
        to_text.topk(min(_ANSWERS, to_text.shape[1])).indices.tolist(),
        to_image.topk(min(_ANSWERS, int(images.decoded.sum()))).indices.tolist(),
    )


def _flat(captions: Sequence[Sequence[str]]) -> tuple[list[str], list[int]]:
    """All captions, and the image of each."""
    pairs = [(caption, image) for image, of_image in enumerate(captions) for caption in of_image]
    return [caption for caption, _ in pairs], [image for _, image in pairs]


def _spread(rows: Sequence[int]) -> list[int]:
    places = np.linspace(0, len(rows) - 1, min(_QUERIES, len(rows))).round().astype(int)
    return [rows[place] for place in places]


def _pictures(stored: StoredImages, rows: Iterable[int]) -> dict[int, str]:
    """`data:` URIs of some rows; read part by part."""
    wanted, starts = set(rows), np.cumsum([0, *stored.part_rows])
    parts = sorted({int(np.searchsorted(starts, row, side="right")) - 1 for row in wanted})
    found: dict[int, str] = {}
    for table in stored.parts(parts):
        for row, data in zip(table["order"].to_pylist(), table["image"].to_pylist(), strict=True):
            if row in wanted:
                small = thumbnail(data, size=_SIZE, max_pixels=MAX_PIXELS)
                encoded = b"" if isinstance(small, DropReason) else base64.b64encode(small)
                found[row] = f"data:image/jpeg;base64,{encoded.decode()}"
    return found
