"""What a run starts from: a fresh model or published weights, and the tokenizer that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from transformers import MetaClip2Model, PreTrainedTokenizerFast

from metaclip_core.model import create_model
from metaclip_core.model_folder import load_pretrained
from metaclip_core.shapes import SHAPES, Preset
from metaclip_core.sharded_checkpoint import load_weights
from metaclip_core.tokenizer_folder import load_tokenizer
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError


@dataclass(frozen=True)
class Start:
    """A float32 model on the CPU, and its tokenizer."""

    model: MetaClip2Model
    tokenizer: PreTrainedTokenizerFast


def load_start(config: RunConfig, tokenizer_uri: str, *, fresh: bool = False) -> Start:
    """Where a run begins.

    Args:
        config: the recipe.
        tokenizer_uri: the run's.
        fresh: leave published weights alone, for others will take their place.

    Raises:
        UserError: the folder of published weights holds none, or those of another shape or tokenizer.
    """
    shape = SHAPES[Preset(config.model.preset)]
    with storage.local_copy(tokenizer_uri) as folder:
        tokenizer = load_tokenizer(folder)
    if config.model.pretrained is None or fresh:
        return Start(create_model(shape, tokenizer, seed=config.seed), tokenizer)
    with storage.local_copy(storage.absolute(config.model.pretrained, base=config.root)) as folder:
        try:
            model = load_pretrained(folder, shape=shape).model
        except ValueError as error:
            raise UserError(f"model.pretrained: {error}") from error
    return Start(model, tokenizer)


def load_checkpoint(config: RunConfig, checkpoint: Path, tokenizer_uri: str) -> Start:
    """The model of a checkpoint: with averaged weights where the recipe asks for an average."""
    start = load_start(config, tokenizer_uri, fresh=True)
    load_weights(checkpoint, start.model, averaged=config.training.ema_decay is not None)
    return start
