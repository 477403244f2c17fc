"""Which class is taken for which, in English and the first other languages of a classification set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from metaclip_core.balancing import ENGLISH
from metaclip_core.evaluation.classification import ClassName, among_named, confusions
from pipelines.embed import EmbeddedImages
from pipelines.evaluation_sets import EvaluationSet

_LANGUAGES = 6
_CLASSES = 20  # that are shown: of more, those with the most mistakes


@dataclass(frozen=True)
class Confusion:
    """Of one set in one language: `counts[i][j]` images of class i are nearest to class j."""

    dataset: str
    language: str
    classes: list[str]  # in English where they have a name in it, so that languages compare
    counts: list[list[int]]
    num_classes: int  # of the set, in this language


class Confusions:
    """Collects the confusions of an evaluation."""

    def __init__(self) -> None:
        self._found: list[Confusion] = []

    def add(self, dataset: EvaluationSet, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> None:
        """Those of a set, where its images have one class each: images that decoded, classes that have a name."""
        content = dataset.content
        if content["task"] != "classification" or content.get("multi_label"):
            return
        labels = torch.tensor(dataset.images.column("label"))[:, None]
        for language in sorted(content["classes"], key=lambda language: language != ENGLISH)[:_LANGUAGES]:
            names: Sequence[ClassName] = content["classes"][language]
            named = [row for row, name in enumerate(names) if name]
            rows, places = among_named(labels, named, len(names))
            decoded = images.decoded[rows]
            counts = confusions(images.embeddings[rows][decoded], texts[language], places[decoded, 0])
            mistakes = counts * (1 - np.eye(len(counts), dtype=np.int64))
            most = np.argsort(-(mistakes.sum(axis=0) + mistakes.sum(axis=1)), kind="stable")[:_CLASSES]
            shown = np.sort(most)
            in_english = content["classes"].get(ENGLISH, names)
            spelt = [_spelling(in_english[named[row]] or names[named[row]]) for row in shown.tolist()]
            self._found.append(
                Confusion(dataset.name, language, spelt, counts[np.ix_(shown, shown)].tolist(), len(named))
            )

    def content(self) -> list[dict[str, Any]]:
        """As JSON."""
        return [asdict(confusion) for confusion in self._found]


def _spelling(name: ClassName) -> str:
    return name if isinstance(name, str) else next(iter(name or [""]))
