"""What learns on one rank: the model, its optimiser, and the step that they take. CPU and GPU share every line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import ray.train.torch
import torch
from torch import nn
from transformers import MetaClip2Model, PreTrainedTokenizerFast

from metaclip_core.batches import Batch, to_batch
from metaclip_core.captions import special_ids
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import create_model, encode_pairs
from metaclip_core.optimizer import clamp_logit_scale_, clip_gradients_, create_optimizer, learning_rate_at
from metaclip_core.shapes import SHAPES, ModelShape, Preset
from pipelines import checkpoint as checkpoints
from pipelines.checkpoint import Progress
from pipelines.config import RunConfig


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
    """The model of one rank of `num_ranks`."""

    def __init__(self, config: RunConfig, tokenizer: PreTrainedTokenizerFast, *, num_ranks: int) -> None:
        self.device = ray.train.torch.get_device()
        self.shape: ModelShape = SHAPES[Preset(config.model.preset)]
        self.model: MetaClip2Model = create_model(self.shape, tokenizer, seed=config.seed)
        self._training = config.training
        self._num_ranks = num_ranks
        self._pad_id = special_ids(tokenizer).pad

    def start(self, checkpoint: Path | None) -> None:
        """Take the weights of a checkpoint, if any, and prepare to learn."""
        if checkpoint is not None:
            checkpoints.load_weights(checkpoint, self.model)
        # the model's buffers are constants: nothing to send around before each step
        options = {"broadcast_buffers": False} if self._num_ranks > 1 else None
        self._wrapped: nn.Module = ray.train.torch.prepare_model(self.model, parallel_strategy_kwargs=options)
        training = self._training
        self._optimizer = create_optimizer(
            self.model,
            learning_rate=training.learning_rate,
            betas=training.betas,
            eps=training.eps,
            weight_decay=training.weight_decay,
        )
        if checkpoint is not None:
            checkpoints.load_optimizer(checkpoint, self._optimizer)

    def to_device(self, examples: pa.Table) -> Batch:
        """Tensors of a table of EXAMPLE; a copy to a GPU goes on beside what follows."""
        batch = to_batch(
            examples,
            image_size=self.shape.image_size,
            context_length=self.shape.context_length,
            pad_id=self._pad_id,
        )
        if self.device.type == "cpu":
            return batch
        return Batch(
            batch.pixels.pin_memory().to(self.device, non_blocking=True),
            batch.input_ids.pin_memory().to(self.device, non_blocking=True),
        )

    def begin(self, batch: Batch) -> torch.Tensor:
        """Forward and backward of a batch, which a GPU does beside what follows: this rank's share of the loss."""
        embeddings = encode_pairs(self._wrapped, batch.pixels, batch.input_ids)
        loss = contrastive_loss(embeddings.images, embeddings.texts, self.model.logit_scale)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

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
        return found

    @property
    def logit_scale(self) -> float:
        """The natural logarithm of the factor on cosines."""
        return float(self.model.logit_scale)

    def save(self, folder: Path, progress: Progress) -> None:
        """Write what is the same on all ranks, by one of them."""
        checkpoints.save_weights(folder, self.model, self._optimizer, progress)

    @torch.no_grad()
    def examine(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Of a batch whose step failed, for each row: are its embeddings finite, and the cosine of image and text."""
        found = encode_pairs(self.model, batch.pixels, batch.input_ids)
        images, texts = found.images.float().cpu(), found.texts.float().cpu()
        return {
            "image_finite": images.isfinite().all(1),
            "text_finite": texts.isfinite().all(1),
            "cosine": (images * texts).sum(1),
        }
