"""The training loop of one worker: stream → step → ledger → checkpoint. CPU and GPU share every line of it."""

from __future__ import annotations

import math
import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from torch import nn
from transformers import MetaClip2Model, PreTrainedTokenizerFast

from metaclip_core.batches import Batch, to_batch
from metaclip_core.captions import load_tokenizer, special_ids
from metaclip_core.ledger import Ledger
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import create_model, encode_pairs
from metaclip_core.optimizer import clamp_logit_scale_, create_optimizer, learning_rate_at
from metaclip_core.positions import Positions
from metaclip_core.shapes import SHAPES, ModelShape, Preset
from pipelines import checkpoint as checkpoints
from pipelines import storage
from pipelines.checkpoint import Progress
from pipelines.config import RunConfig
from pipelines.config.training import TrainingConfig
from pipelines.curated import Curated
from pipelines.stream import ExampleStream, consume
from pipelines.window import window_of

TRAIN = "train"  # the data set's name


@dataclass(frozen=True)
class WorkerSpec:
    """All that a worker is told."""

    config: RunConfig
    curated: Curated
    run_name: str
    tokenizer_uri: str


@dataclass
class _Meter:
    """What happened since the last report."""

    global_batch_size: int
    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    losses: list[float] = field(default_factory=list)
    grad_norms: list[float] = field(default_factory=list)

    def read(self, progress: Progress, *, rate: float, logit_scale: float) -> dict[str, float]:
        """The metrics of a report, by their names in the record."""
        elapsed = time.perf_counter() - self.started
        return {
            "step": progress.step,
            "samples_seen": progress.samples_seen,
            "train/loss": statistics.fmean(self.losses),
            "train/grad_norm": statistics.fmean(self.grad_norms),
            "train/learning_rate": rate,
            "train/logit_scale": logit_scale,
            "train/samples_per_s": len(self.losses) * self.global_batch_size / elapsed,
            "train/data_wait_share": self.waited / elapsed,
        }


def train_loop(arguments: dict[str, Any]) -> dict[str, Any]:
    """Ray Train's entry on every worker; `arguments` holds a WorkerSpec as `spec`.

    Returns:
        `step` at the end, and `diverged`: whether the loss or its gradient was no longer finite there. All ranks stop
        at the same step, since gradients are equal on all of them.
    """
    spec: WorkerSpec = arguments["spec"]
    torch.set_num_threads(spec.config.compute.worker_threads)
    with storage.local_copy(spec.tokenizer_uri) as folder:
        tokenizer = load_tokenizer(folder)
    return _Worker(spec, tokenizer).run()


class _Worker:
    """One rank: its model, its ledger, its part of the stream."""

    def __init__(self, spec: WorkerSpec, tokenizer: PreTrainedTokenizerFast) -> None:
        self._spec = spec
        self._training: TrainingConfig = spec.config.training
        self._rank = ray.train.get_context().get_world_rank()
        self._num_ranks = ray.train.get_context().get_world_size()
        self._batch_rows = self._training.global_batch_size // self._num_ranks
        self._shape: ModelShape = SHAPES[Preset(spec.config.model.preset)]
        self._pad_id = special_ids(tokenizer).pad
        self._device = ray.train.torch.get_device()
        self._model: MetaClip2Model = create_model(self._shape, tokenizer, seed=spec.config.seed)
        self._progress = Progress(step=0, samples_seen=0)
        merged = Ledger(Positions(spec.curated.num_shards, spec.config.seed))
        checkpoint = ray.train.get_checkpoint()
        if checkpoint is None:
            self._wrapped, self._optimizer = self._prepare()
        else:
            with checkpoint.as_directory() as folder:
                self._progress = checkpoints.load_progress(Path(folder))
                merged = checkpoints.load_ledger(Path(folder))
                checkpoints.load_weights(Path(folder), self._model)
                self._wrapped, self._optimizer = self._prepare()
                checkpoints.load_optimizer(Path(folder), self._optimizer)
        self._ledger = merged if self._rank == 0 else Ledger(merged.order)
        self._stream = self._open_stream(merged)

    def _prepare(self) -> tuple[nn.Module, torch.optim.Optimizer]:
        # the model's buffers are constants: nothing to send around before each step
        wrapped = ray.train.torch.prepare_model(
            self._model, parallel_strategy_kwargs={"broadcast_buffers": False} if self._num_ranks > 1 else None
        )
        training = self._training
        optimizer = create_optimizer(
            self._model,
            learning_rate=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            weight_decay=training.weight_decay,
        )
        return wrapped, optimizer

    def _open_stream(self, merged: Ledger) -> ExampleStream:
        feed = self._spec.config.feed
        window = window_of(self._spec.run_name)
        if self._rank == 0:
            ray.get(window.start.remote(merged.to_table()))
        shard = ray.train.get_dataset_shard(TRAIN)

        def open_window(offset: int) -> Any:  # noqa: ANN401 - Ray's batches are of any format
            if self._rank == 0:  # before its own turn, without which no rank's iteration begins
                ray.get(window.advance.remote(offset))
            return shard.iter_batches(
                batch_size=self._batch_rows,
                batch_format="pyarrow",
                prefetch_batches=2,
                local_shuffle_buffer_size=feed.shuffle_rows or None,
                local_shuffle_seed=self._spec.config.seed + offset,
            )

        return ExampleStream(
            open_window,
            self._ledger,
            ledger_id=merged.digest(),
            image_size=self._shape.image_size,
            batch_rows=self._batch_rows,
            window_positions=feed.window_positions,
            all_ready=self._all_ready,
        )

    def _all_ready(self, ready: bool) -> bool:  # noqa: FBT001 - the question's answer
        if self._num_ranks == 1:
            return ready
        flag = torch.tensor(int(ready), device=self._device)
        dist.all_reduce(flag, dist.ReduceOp.MIN)
        return bool(flag.item())

    def run(self) -> dict[str, Any]:
        """Train to the last step."""
        training = self._training
        meter = _Meter(training.global_batch_size)
        examples = iter(self._stream)
        while self._progress.step < training.steps:
            waiting = time.perf_counter()
            batch = next(examples)
            meter.waited += time.perf_counter() - waiting
            if not self._step(batch, meter):
                return {"step": self._progress.step, "diverged": True}
            consume(self._ledger, batch)
            step = self._progress.step + 1
            self._progress = Progress(step, step * training.global_batch_size)
            if step % training.checkpoint_every_steps == 0 or step == training.steps:
                self._save(self._metrics(meter))
                meter = _Meter(training.global_batch_size)
            elif step % training.log_every_steps == 0:
                ray.train.report(self._metrics(meter))
                meter = _Meter(training.global_batch_size)
        return {"step": self._progress.step, "diverged": False}

    def _step(self, examples: pa.Table, meter: _Meter) -> bool:
        """One optimiser step; False, and nothing changed, when the loss or its gradient is not finite."""
        training = self._training
        rate = learning_rate_at(
            self._progress.step,
            peak=training.learning_rate,
            warmup_steps=training.warmup_steps,
            total_steps=training.steps,
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        batch = self._to_device(examples)
        embeddings = encode_pairs(self._wrapped, batch.pixels, batch.input_ids)
        loss = contrastive_loss(embeddings.images, embeddings.texts, self._model.logit_scale)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        # gradients are averaged over the ranks, so their norm is the same on all of them, and so is what follows
        norm = float(nn.utils.clip_grad_norm_(self._model.parameters(), training.max_grad_norm))
        if not math.isfinite(norm):
            return False
        self._optimizer.step()
        clamp_logit_scale_(self._model)
        meter.losses.append(float(loss.detach()))
        meter.grad_norms.append(norm)
        return True

    def _metrics(self, meter: _Meter) -> dict[str, float]:
        return meter.read(
            self._progress,
            rate=self._optimizer.param_groups[0]["lr"],
            logit_scale=float(self._model.logit_scale),
        )

    def _to_device(self, examples: pa.Table) -> Batch:
        batch = to_batch(
            examples,
            image_size=self._shape.image_size,
            context_length=self._shape.context_length,
            pad_id=self._pad_id,
        )
        if self._device.type == "cpu":
            return batch
        return Batch(
            batch.pixels.pin_memory().to(self._device, non_blocking=True),
            batch.input_ids.pin_memory().to(self._device, non_blocking=True),
        )

    def _save(self, metrics: dict[str, float]) -> None:
        with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
            folder = Path(name)
            checkpoints.save_ledger(folder, self._ledger, rank=self._rank)
            if self._rank == 0:
                checkpoints.save_weights(folder, self._model, self._optimizer, self._progress)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
