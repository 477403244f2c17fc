"""Evaluation sets, and what a model's embeddings are worth on them: classification and retrieval, per language.

An evaluation set is a folder: `images.parquet` (image, and label for classification) and `dataset.json`, which names
the task and holds class names and templates, or captions by image, per language. Images that do not decode count as
wrong.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import torch

from metaclip_core.evaluation.classification import class_embeddings, prompts, top_k_accuracy
from metaclip_core.evaluation.retrieval import recall_at_k
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.embed import matrix
from pipelines.errors import UserError
from pipelines.shards import Progress

_KS = (1, 5)
MEAN = "mean"  # over languages


def metric_name(dataset: str, language: str, measure: str) -> str:
    """The name of a measure in the record."""
    return f"eval/{dataset}/{language}/{measure}"


@dataclass(frozen=True)
class EvaluationSet:
    """One benchmark."""

    name: str
    uri: str
    content: dict[str, Any]

    @classmethod
    def load(cls, uri: str) -> EvaluationSet:
        """Raises UserError when the folder holds no evaluation set."""
        try:
            content = storage.read_json(storage.join(uri, "dataset.json"))
        except FileNotFoundError as error:
            raise UserError(f"no evaluation set at {uri}: it holds no dataset.json") from error
        except json.JSONDecodeError as error:
            raise UserError(f"{uri}/dataset.json is no JSON: {error}") from error
        required = {"classification": {"classes", "templates"}, "retrieval": {"captions"}}
        task = content.get("task")
        if task not in required or not required[task] <= content.keys():
            raise UserError(f"{uri}/dataset.json is of no known task, or lacks what it needs: {sorted(content)}")
        return cls(uri.rsplit("/", 1)[-1], uri, content)

    def images(self) -> pa.Table:
        """Its images, with labels for classification."""
        return storage.read_table(storage.join(self.uri, "images.parquet"))


class Embedder(Protocol):
    """Embeds with one model."""

    def images(self, table: pa.Table) -> pa.Table:
        """The rows with the embeddings of their column `image`, in order."""

    def texts(self, texts: Iterable[str]) -> dict[str, torch.Tensor]:
        """The embedding of each distinct text."""


def load_sets(config: RunConfig) -> list[EvaluationSet]:
    """The recipe's evaluation sets. Raises UserError, as `EvaluationSet.load`."""
    return [EvaluationSet.load(storage.absolute(uri, base=config.root)) for uri in config.evaluation.sets]


def measure_sets(sets: Sequence[EvaluationSet], embedder: Embedder, *, progress: Progress) -> dict[str, float]:
    """Metrics of what a model embeds, by name."""
    measures = {"classification": _classification, "retrieval": _retrieval}
    metrics: dict[str, float] = {}
    for done, dataset in enumerate(sets):
        progress("evaluate", done, len(sets))
        metrics |= measures[dataset.content["task"]](dataset, embedder)
    progress("evaluate", len(sets), len(sets))
    return metrics


def _classification(dataset: EvaluationSet, embedder: Embedder) -> dict[str, float]:
    images = embedder.images(dataset.images())
    labels = torch.from_numpy(images["label"].to_numpy().astype("int64"))
    by_language = {
        language: prompts(names, dataset.content["templates"][language])
        for language, names in dataset.content["classes"].items()
    }
    texts = embedder.texts(text for of_language in by_language.values() for text in of_language)
    found: dict[str, dict[str, float]] = {}
    for language, of_language in by_language.items():
        num_templates = len(dataset.content["templates"][language])
        classes = class_embeddings(torch.stack([texts[text] for text in of_language]), num_templates=num_templates)
        accuracy = top_k_accuracy(matrix(images), classes, labels, ks=_KS)
        found[language] = {f"top{k}": share for k, share in accuracy.top.items()}
    return _named(dataset.name, found)


def _retrieval(dataset: EvaluationSet, embedder: Embedder) -> dict[str, float]:
    images = matrix(embedder.images(dataset.images()))
    captions: dict[str, Sequence[Sequence[str]]] = dataset.content["captions"]
    texts = embedder.texts(text for of_language in captions.values() for of_image in of_language for text in of_image)
    found: dict[str, dict[str, float]] = {}
    for language, of_language in captions.items():
        image_of = [image for image, of_image in enumerate(of_language) for _ in of_image]
        embedded = torch.stack([texts[text] for of_image in of_language for text in of_image])
        recall = recall_at_k(images, embedded, torch.tensor(image_of), ks=_KS)
        found[language] = {f"image_to_text_recall{k}": share for k, share in recall.image_to_text.items()}
        found[language] |= {f"text_to_image_recall{k}": share for k, share in recall.text_to_image.items()}
    return _named(dataset.name, found)


def _named(dataset: str, found: dict[str, dict[str, float]]) -> dict[str, float]:
    """By name, with the mean over languages."""
    names = next(iter(found.values())).keys()
    means = {measure: statistics.fmean(of_language[measure] for of_language in found.values()) for measure in names}
    return {
        metric_name(dataset, language, measure): share
        for language, measures in {**found, MEAN: means}.items()
        for measure, share in measures.items()
    }
