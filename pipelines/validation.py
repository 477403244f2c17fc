"""Each checkpoint tried on held-out pairs and on the evaluation sets, in a task of its own beside the training."""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
import torch

from metaclip_core.evaluation.geometry import Geometry
from metaclip_core.evaluation.retrieval import recall_at_k
from metaclip_core.loss import contrastive_loss
from metaclip_core.model_folder import save_model
from pipelines import checkpoint as checkpoints
from pipelines import storage
from pipelines.board import board_of
from pipelines.config import RunConfig
from pipelines.embed import LocalEmbedder
from pipelines.evaluation_sets import load_sets
from pipelines.measures import measure_sets
from pipelines.start import load_checkpoint
from pipelines.tasks import checked_tasks, pair_geometry

CPUS = 1
_BATCH_PAIRS = 256  # a loss is of so many pairs, whatever the run's own batch is
_KS = (1, 5)
_WAYS = ("image_to_text", "text_to_image")
OF_PAIRS = frozenset(  # the metrics of held-out pairs
    f"valid/{measure}"
    for measure in (
        "loss",
        "pairs",
        *(field.name for field in fields(Geometry)),
        *(f"{way}_recall{k}" for way in _WAYS for k in _KS),
    )
)


def validate_checkpoint(
    checkpoint: ray.train.Checkpoint, *, config: dict[str, Any], run_name: str, tokenizer_uri: str, held_out_uri: str
) -> dict[str, float]:
    """Metrics of a checkpoint, also on the run's board. Plain values, as Ray Train keeps them."""
    return _validate(checkpoint, RunConfig.model_validate(config), run_name, tokenizer_uri, held_out_uri)


def _validate(
    checkpoint: ray.train.Checkpoint, config: RunConfig, run_name: str, tokenizer_uri: str, held_out_uri: str
) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name, checkpoint.as_directory() as saved:
        step = checkpoints.load_progress(Path(saved)).step
        found = load_checkpoint(config, Path(saved), tokenizer_uri)
        save_model(found.model, found.tokenizer, Path(name))
        embedder = LocalEmbedder(name, batch_rows=config.evaluation.batch_rows, threads=config.compute.worker_threads)
    metrics = measure_pairs(storage.read_table(held_out_uri), embedder, found.model.logit_scale.detach())
    metrics |= measure_sets(checked_tasks(load_sets(config)), embedder, resamples=0, progress=lambda *_: None)
    board_of(run_name).post.remote({"step": step, **metrics})
    return metrics


def measure_pairs(held_out: pa.Table, embedder: LocalEmbedder, logit_scale: torch.Tensor) -> dict[str, float]:
    """OF_PAIRS of a table with the columns `image` and `caption`; nothing of an empty one."""
    if not held_out.num_rows:
        return {}
    embedded = embedder.images(held_out["image"].to_pylist())
    images = embedded.embeddings
    texts = embedder.prompts([[caption] for caption in held_out["caption"].to_pylist()])
    starts = range(0, max(1, len(images) - _BATCH_PAIRS + 1), _BATCH_PAIRS)  # whole batches, where there is one
    losses = [
        float(contrastive_loss(images[start : start + _BATCH_PAIRS], texts[start : start + _BATCH_PAIRS], logit_scale))
        for start in starts
    ]
    recall = recall_at_k(images, texts, torch.arange(len(images)), ks=_KS)
    metrics = {"valid/loss": statistics.fmean(losses), "valid/pairs": float(len(images))}
    metrics |= {f"valid/{measure}": value for measure, value in pair_geometry(embedded, texts).items()}
    return metrics | {
        f"valid/{way}_recall{k}": tally.share for way in _WAYS for k, tally in getattr(recall, way).items()
    }
