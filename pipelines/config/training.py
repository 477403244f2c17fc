"""The stream, the model, its optimisation and its evaluation."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from metaclip_core.shapes import Preset
from pipelines.config.base import Count, Section, Uri


class FeedMode(StrEnum):
    """What a draw is made from. Both draw the same pairs, so a run may go on with the other."""

    ANNOTATED = "annotated"  # the stored annotations; then kept images are read, in ranges
    RAW = "raw"  # the shards, read whole and annotated anew


class FeedConfig(Section):
    """The stream of training examples."""

    mode: FeedMode = FeedMode.ANNOTATED  # no part of a version
    window_positions: Count = 8_192
    interleaved_shards: Count = 8
    chunk_rows: Count = 16  # rows of one shard that stand together
    shuffle_rows: Annotated[int, Field(ge=0)] = 2_048  # per worker
    decode_rows: Count = 256
    max_pixels: Count = 50_000_000
    reduced_decode: bool = True  # large JPEGs at a fraction of their size, as far as that is enough
    min_shards_per_batch: Annotated[int, Field(ge=0)] = 0  # a run whose global batches mix fewer is ended


class Precision(StrEnum):
    """Of the towers' arithmetic; weights and embeddings are float32."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


class Layout(StrEnum):
    """How the model lies on the workers."""

    REPLICATED = "replicated"  # whole on each
    SHARDED = "sharded"  # FSDP2: for models that one GPU does not hold


class Loss(StrEnum):
    """What is learnt."""

    CONTRASTIVE = "contrastive"  # CLIP's softmax over the global batch
    SIGMOID = "sigmoid"  # SigLIP's


class Scale(StrEnum):
    """What the numbers of a training stand for."""

    AS_STATED = "as_stated"
    WORLDWIDE = "worldwide"  # for English alone: the global batch grows until as many English pairs are seen


class ModelConfig(Section):
    """The model and its tokenizer."""

    preset: Preset = Preset.TINY
    pretrained: Uri | None = None  # folder of published weights to begin with, and of their tokenizer
    tokenizer: Uri | None = None  # folder of a Hugging Face tokenizer; None: of the weights, else one is trained
    vocab_size: Count = 4_096  # of one that is trained
    tokenizer_captions: Count = 200_000  # at most so many train the tokenizer

    @model_validator(mode="after")
    def _one_tokenizer(self) -> Self:
        if self.pretrained is not None and self.tokenizer is not None:
            raise ValueError("pretrained weights go with their own tokenizer: leave tokenizer out")
        return self


class TrainingConfig(Section):
    """The optimisation."""

    steps: Count = 1_000
    global_batch_size: Count = 128
    scale: Scale = Scale.AS_STATED
    scale_multiple: Count = 64  # what a scaled global batch divides by, however many workers there are
    loss: Loss = Loss.CONTRASTIVE
    precision: Precision = Precision.FLOAT32
    layout: Layout = Layout.REPLICATED
    chunk_rows: Count | None = None  # pairs of a worker that are embedded at once; None: its whole batch
    caption_group_rows: Count | None = None  # captions of similar length that are padded together; None: a chunk's
    gradient_checkpointing: bool = False
    compile: bool = False
    lock_images: bool = False  # the vision tower stays as it was
    ema_decay: Annotated[float | None, Field(gt=0, lt=1)] = None  # of averaged weights, which the model then has
    learning_rate: Annotated[float, Field(gt=0)] = 5e-4
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    weight_decay: Annotated[float, Field(ge=0)] = 0.2
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    checkpoint_every_steps: Count = 500
    log_every_steps: Count = 20
    checkpoints_kept: Count = 2  # the last, and the best of the others by best_by
    best_by: str | None = None  # a metric; None: the last ones are kept
    best_is: Literal["min", "max"] = "min"
    preemption_steps: Count = 10  # from one look for announced ends of nodes to the next
    validation_rows: Annotated[int, Field(ge=0)] = 0  # pairs that are held out, about; each checkpoint is tried on them

    @model_validator(mode="after")
    def _warms_up_in_time(self) -> Self:
        if self.warmup_steps > self.steps:
            raise ValueError(f"warmup_steps {self.warmup_steps} is more than steps {self.steps}")
        return self

    @model_validator(mode="after")
    def _measures_what_it_keeps_by(self) -> Self:
        if self.best_by is not None and not self.best_by.startswith("train/") and not self.validation_rows:
            raise ValueError(f"best_by {self.best_by} is measured by validation: set validation_rows")
        return self


class EvaluationConfig(Section):
    """What a model is measured on."""

    sets: list[Uri] = Field(default_factory=list)  # folders; relative to the root
    batch_rows: Count = 256
    resamples: Annotated[int, Field(ge=0)] = 1_000  # of the bootstrap behind intervals; 0: none
    search_images: Count = 10_000  # of the pool, that `metaclip search` looks through, about
