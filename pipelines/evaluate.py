"""What a model is worth on the recipe's evaluation sets, embedded through Ray Data."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
import ray
import torch

from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.embed import EmbedImages, EmbedTexts, embed, matrix
from pipelines.errors import UserError
from pipelines.evaluation_sets import load_sets, measure_sets
from pipelines.shards import Progress
from pipelines.training import TrainResult, load_record, load_result


class _DataEmbedder:
    """Embeds through Ray Data."""

    def __init__(self, model_uri: str, config: RunConfig) -> None:
        self._model_uri = model_uri
        self._batch_rows = config.evaluation.batch_rows
        self._compute = config.compute

    def images(self, table: pa.Table) -> pa.Table:
        """The rows with the embeddings of their column `image`, in order."""
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
    sets = load_sets(config)
    if not sets:
        raise UserError("evaluation.sets is empty: name at least one folder")
    with connected(config.compute):
        return measure_sets(sets, _DataEmbedder(model_uri, config), progress=progress)
