"""What learns on one rank: the model, its optimiser, and the step that they take. CPU and GPU share every line."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.nn.parallel import DistributedDataParallel

from metaclip_core.batches import Batch, to_batch
from metaclip_core.captions import special_ids
from metaclip_core.ema import WeightAverage
from metaclip_core.embeddings import PairEmbeddings
from metaclip_core.gradient_cache import backward_in_chunks
from metaclip_core.loss import contrastive_loss, sigmoid_loss
from metaclip_core.model import lock_images_, prepare_for_sigmoid_
from metaclip_core.optimizer import clamp_logit_scale_, clip_gradients_, create_optimizer, learning_rate_at
from metaclip_core.pair_encoder import PairEncoder, encode_batch
from metaclip_core.parallel import average_scalars_, compile_layers_, cut_activations_, replicate, shard_
from metaclip_core.shapes import SHAPES, ModelShape, Preset
from metaclip_core.sharded_checkpoint import load_sharded, save_sharded
from pipelines.config import RunConfig
from pipelines.config.training import Layout, Loss, Precision
from pipelines.start import Start

_DTYPES = {Precision.FLOAT32: torch.float32, Precision.BFLOAT16: torch.bfloat16}
_LOSSES: dict[Loss, Callable[..., torch.Tensor]] = {Loss.CONTRASTIVE: contrastive_loss, Loss.SIGMOID: sigmoid_loss}


@dataclass(frozen=True)
class Step:
    """What a step found. Without a finite gradient norm it changed nothing."""

    loss: float  # this rank's share: the mean over the ranks is the loss
    grad_norm: float  # the same on all ranks
    learning_rate: float

    @property
    def finite(self) -> bool:
        """Whether the optimiser took the step; all ranks say the same."""
        return math.isfinite(self.grad_norm)


class Learner:
    """The model of one rank of `num_ranks`, from where it starts or from a checkpoint; all ranks make one together."""

    def __init__(
        self, config: RunConfig, start: Start, checkpoint: Path | None, *, device: torch.device, num_ranks: int
    ) -> None:
        training = config.training
        self._training = training
        self._num_ranks = num_ranks
        self._pad_id = special_ids(start.tokenizer).pad
        self.shape: ModelShape = SHAPES[Preset(config.model.preset)]
        self.device = device
        self._autocast = _autocast(self.device, training.precision)
        self.model = start.model.train()
        self.model.to(device)
        scalars: list[torch.Tensor] = [self.model.logit_scale]
        if training.loss is Loss.SIGMOID:
            scalars.append(prepare_for_sigmoid_(self.model))
        if training.lock_images:
            lock_images_(self.model)
        self._encoder = PairEncoder(self.model)
        self._wrapped = self._laid_out()
        self._scalars = [scalar for scalar in scalars if scalar.requires_grad]
        self._optimizer = create_optimizer(
            self.model,
            learning_rate=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            weight_decay=training.weight_decay,
        )
        self._average = WeightAverage(self.model, decay=training.ema_decay) if training.ema_decay else None
        if checkpoint is not None:
            load_sharded(checkpoint, self.model, self._optimizer, self._average)

    def _laid_out(self) -> torch.nn.Module:
        """The encoder as it runs on the ranks."""
        training = self._training
        if training.gradient_checkpointing:
            cut_activations_(self.model)
        if training.compile:
            compile_layers_(self.model)
        if self._num_ranks == 1:
            return self._encoder
        if training.layout is Layout.REPLICATED:
            return replicate(self._encoder)
        mesh = init_device_mesh(self.device.type, (self._num_ranks,))
        shard_(self._encoder, mesh, precision=_DTYPES[training.precision])
        return self._encoder

    def to_device(self, examples: pa.Table) -> list[Batch]:
        """Tensors of a table of EXAMPLE, in chunks that are embedded at once."""
        rows = examples.num_rows
        chunk_rows = min(self._training.chunk_rows or rows, rows)
        group_rows = self._training.caption_group_rows or chunk_rows
        return [
            to_batch(
                examples.slice(start, chunk_rows),
                image_size=self.shape.image_size,
                context_length=self.shape.context_length,
                group_rows=group_rows,
                pad_id=self._pad_id,
            ).to(self.device)
            for start in range(0, rows, chunk_rows)
        ]

    def begin(self, chunks: Sequence[Batch]) -> torch.Tensor:
        """Forward and backward of a batch, which a GPU does beside what follows: this rank's share of the loss."""
        self._optimizer.zero_grad(set_to_none=True)
        loss = _LOSSES[self._training.loss]
        if len(chunks) == 1:
            embedded = self._encode(chunks[0])
            share = loss(embedded.images, embedded.texts, *self._scalars)
            share.backward()  # type: ignore[no-untyped-call]
        else:
            share = backward_in_chunks(self._encode, chunks, loss, self._scalars, accumulate=self._accumulate())
        if self._training.layout is Layout.SHARDED and self._num_ranks > 1:
            average_scalars_(self._encoder)
        return share.detach()

    def _encode(self, batch: Batch) -> PairEmbeddings:
        with self._autocast():
            return encode_batch(self._wrapped, batch.pixels, batch.captions)

    def _accumulate(self) -> Callable[[], AbstractContextManager[object]]:
        return self._wrapped.no_sync if isinstance(self._wrapped, DistributedDataParallel) else contextlib.nullcontext

    def end(self, loss: torch.Tensor, *, step: int) -> Step:
        """Change the weights by the gradients of the loss, unless these are not finite."""
        training = self._training
        rate = learning_rate_at(
            step, peak=training.learning_rate, warmup_steps=training.warmup_steps, total_steps=training.steps
        )
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        # gradients are averaged over the ranks, so their norm is the same on all of them, and so is what follows
        found = Step(float(loss), clip_gradients_(self.model.parameters(), max_norm=training.max_grad_norm), rate)
        if found.finite:
            self._optimizer.step()
            clamp_logit_scale_(self.model)
            if self._average is not None:
                self._average.update_(self.model)
        return found

    @property
    def logit_scale(self) -> float:
        """The natural logarithm of the factor on cosines."""
        return float(self.model.logit_scale.detach())

    def save(self, folder: Path) -> None:
        """Write this rank's part of weights, moments and averages; all ranks call it together."""
        save_sharded(folder, self.model, self._optimizer, self._average)

    @torch.no_grad()
    def examine(self, chunks: Sequence[Batch]) -> dict[str, torch.Tensor]:
        """Of a batch whose step failed, for each row: are its embeddings finite, and the cosine of image and text."""
        found = [self._encode(chunk) for chunk in chunks]
        images = torch.cat([chunk.images.float().cpu() for chunk in found])
        texts = torch.cat([chunk.texts.float().cpu() for chunk in found])
        return {
            "image_finite": images.isfinite().all(1),
            "text_finite": texts.isfinite().all(1),
            "cosine": (images * texts).sum(1),
        }

    def weights_finite(self) -> bool:
        """Whether all weights of this rank are."""
        return all(bool(weights.detach().isfinite().all()) for weights in self.model.parameters())


def _autocast(device: torch.device, precision: Precision) -> Callable[[], AbstractContextManager[object]]:
    """What the towers run in."""
    if precision is Precision.FLOAT32:
        return contextlib.nullcontext
    return lambda: torch.autocast(device.type, dtype=torch.bfloat16)
