"""What a model is worth: zero-shot classification and retrieval, per language.

An evaluation set is a folder: `images.parquet` (image, and label for classification) and `dataset.json`, which names
the task and holds class names and templates, or captions by image, per language. Images that do not decode count as
wrong.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import torch

from metaclip_core.evaluation.classification import class_embeddings, prompts, top_k_accuracy
from metaclip_core.evaluation.retrieval import recall_at_k
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.curate import Progress
from pipelines.embed import EmbedImages, EmbedTexts, embed, matrix
from pipelines.errors import UserError
from pipelines.training import TrainResult, load_record, load_result

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


class _Embedder:
    """Embeds through Ray Data with one model."""

    def __init__(self, model_uri: str, config: RunConfig) -> None:
        self._model_uri = model_uri
        self._batch_rows = config.evaluation.batch_rows
        self._compute = config.compute

    def images(self, uri: str) -> pa.Table:
        """Rows of `images.parquet`, in order, with embeddings."""
        table = storage.read_table(storage.join(uri, "images.parquet"))
        return self._embed(table, EmbedImages)

    def texts(self, texts: Iterable[str]) -> dict[str, torch.Tensor]:
        """The embedding of each distinct text."""
        distinct = pa.table({"text": sorted(set(texts))})
        embedded = self._embed(distinct, EmbedTexts)
        return dict(zip(embedded["text"].to_pylist(), matrix(embedded), strict=True))

    def _embed(self, table: pa.Table, stage: type[EmbedImages | EmbedTexts]) -> pa.Table:
        numbered = table.append_column("order", pa.array(range(table.num_rows), pa.int64()))
        blocks = -(-table.num_rows // self._batch_rows)
        rows = ray.data.from_arrow(numbered, override_num_blocks=blocks)
        embedded = embed(rows, stage, self._model_uri, batch_rows=self._batch_rows, compute=self._compute)
        return embedded.sort_by("order")


def evaluate_run(config: RunConfig, *, progress: Progress) -> dict[str, float]:
    """Metrics of the recipe's finished run, also into its record and beside it.

    Raises:
        UserError: the run is not finished, or there is no such set.
    """
    result = load_result(config)
    metrics = evaluate_model(config, result.model_uri, progress=progress)
    storage.write_json(_metrics_uri(config, result.run_name), metrics)
    load_record(config, result).log_metrics(metrics, step=config.training.steps)
    return metrics


def load_metrics(config: RunConfig, result: TrainResult) -> dict[str, float] | None:
    """What `evaluate_run` found, or None before it ran."""
    try:
        return dict(storage.read_json(_metrics_uri(config, result.run_name)))
    except FileNotFoundError:
        return None


def _metrics_uri(config: RunConfig, run_name: str) -> str:
    return storage.join(storage.Layout(config.root).run(run_name), "evaluation.json")


def evaluate_model(config: RunConfig, model_uri: str, *, progress: Progress) -> dict[str, float]:
    """Metrics of a Hugging Face folder on the recipe's evaluation sets, by name. Connects to Ray where nobody has yet.

    Raises:
        UserError: there is no such model or set.
    """
    if not storage.exists(storage.join(model_uri, "config.json")):
        raise UserError(f"no model at {model_uri}: it holds no config.json")
    sets = [EvaluationSet.load(storage.absolute(uri, base=config.root)) for uri in config.evaluation.sets]
    if not sets:
        raise UserError("evaluation.sets is empty: name at least one folder")
    embedder = _Embedder(model_uri, config)
    measures = {"classification": _classification, "retrieval": _retrieval}
    metrics: dict[str, float] = {}
    with connected(config.compute):
        for done, dataset in enumerate(sets):
            progress("evaluate", done, len(sets))
            metrics |= measures[dataset.content["task"]](dataset, embedder)
    progress("evaluate", len(sets), len(sets))
    return metrics


def _classification(dataset: EvaluationSet, embedder: _Embedder) -> dict[str, float]:
    images = embedder.images(dataset.uri)
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


def _retrieval(dataset: EvaluationSet, embedder: _Embedder) -> dict[str, float]:
    images = matrix(embedder.images(dataset.uri))
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
