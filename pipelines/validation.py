"""Each checkpoint tried on held-out pairs and on the evaluation sets, in a task of its own beside the training."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import torch

from metaclip_core.evaluation.retrieval import recall_at_k
from metaclip_core.loss import contrastive_loss
from metaclip_core.model_folder import save_model
from pipelines import checkpoint as checkpoints
from pipelines import storage
from pipelines.board import board_of
from pipelines.config import RunConfig
from pipelines.embed import EmbedImages, EmbedTexts, matrix
from pipelines.evaluation_sets import load_sets, measure_sets
from pipelines.start import load_checkpoint

CPUS = 1
_BATCH_PAIRS = 256  # a loss is of so many pairs, whatever the run's own batch is
_KS = (1, 5)


def validate(
    checkpoint: ray.train.Checkpoint, *, config: dict[str, Any], run_name: str, tokenizer_uri: str, held_out_uri: str
) -> dict[str, float]:
    """Metrics of a checkpoint, also on the run's board. Ray Train calls it beside the training, with plain values."""
    return _validate(checkpoint, RunConfig.model_validate(config), run_name, tokenizer_uri, held_out_uri)


def _validate(
    checkpoint: ray.train.Checkpoint, config: RunConfig, run_name: str, tokenizer_uri: str, held_out_uri: str
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name, checkpoint.as_directory() as saved:
        step = checkpoints.load_progress(Path(saved)).step
        found = load_checkpoint(config, Path(saved), tokenizer_uri)
        save_model(found.model, found.tokenizer, Path(name))
        embedder = _Embedder(name, config)
    metrics = _of_pairs(storage.read_table(held_out_uri), embedder, found.model.logit_scale.detach())
    metrics |= measure_sets(load_sets(config), embedder, progress=lambda *_: None)
    board_of(run_name).post.remote({"step": step, **metrics})
    return metrics


class _Embedder:
    """Embeds in this process: the training leaves no CPUs for a data set."""

    def __init__(self, model_folder: str, config: RunConfig) -> None:
        threads = config.compute.worker_threads
        self._images = EmbedImages(model_folder, threads=threads)
        self._texts = EmbedTexts(model_folder, threads=threads)
        self._batch_rows = config.evaluation.batch_rows

    def images(self, table: pa.Table) -> pa.Table:
        """The rows with the embeddings of their column `image`, in order."""
        return self._embed(table, self._images)

    def texts(self, texts: Iterable[str]) -> dict[str, torch.Tensor]:
        """The embedding of each distinct text."""
        embedded = self._embed(pa.table({"text": sorted(set(texts))}), self._texts)
        return dict(zip(embedded["text"].to_pylist(), matrix(embedded), strict=True))

    def _embed(self, table: pa.Table, stage: EmbedImages | EmbedTexts) -> pa.Table:
        starts = range(0, table.num_rows, self._batch_rows)
        return pa.concat_tables(stage(table.slice(start, self._batch_rows)) for start in starts)


def _of_pairs(held_out: pa.Table, embedder: _Embedder, logit_scale: torch.Tensor) -> dict[str, float]:
    if not held_out.num_rows:
        return {}
    images = matrix(embedder.images(held_out))
    of_text = embedder.texts(held_out["caption"].to_pylist())
    texts = torch.stack([of_text[caption] for caption in held_out["caption"].to_pylist()])
    starts = range(0, max(1, len(images) - _BATCH_PAIRS + 1), _BATCH_PAIRS)  # whole batches, where there is one
    losses = [
        float(contrastive_loss(images[start : start + _BATCH_PAIRS], texts[start : start + _BATCH_PAIRS], logit_scale))
        for start in starts
    ]
    recall = recall_at_k(images, texts, torch.arange(len(images)), ks=_KS)
    metrics = {"valid/loss": statistics.fmean(losses), "valid/pairs": float(len(images))}
    metrics |= {f"valid/image_to_text_recall{k}": share for k, share in recall.image_to_text.items()}
    return metrics | {f"valid/text_to_image_recall{k}": share for k, share in recall.text_to_image.items()}
