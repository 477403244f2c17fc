"""The two towers: transformers' MetaClip2Model, from a shape and a tokenizer to embeddings.

Text is causal and read at the first EOS, so right padding changes nothing and no attention mask is needed. Embeddings
are unit vectors in at least float32, whatever precision the towers ran in.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers import MetaClip2Config, MetaClip2Model, PreTrainedTokenizerFast
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from metaclip_core.captions import SpecialIds, special_ids
from metaclip_core.embeddings import PairEmbeddings, unit
from metaclip_core.shapes import Activation, ModelShape, TowerShape

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
INITIAL_SIGMOID_SCALE = math.log(10)
INITIAL_LOGIT_BIAS = -10.0


def create_model(shape: ModelShape, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> MetaClip2Model:
    """A fresh float32 model on the CPU; `seed` alone decides its weights, and torch's own generator is left as it was.

    The tokenizer gives vocabulary size, BOS, PAD and the EOS at which text is pooled.

    Raises:
        ValueError: the tokenizer can't frame captions, see `captions.special_ids`.
    """
    config = model_config(shape, vocab_size=len(tokenizer), frame=special_ids(tokenizer))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MetaClip2Model(config)


def prepare_for_sigmoid_(model: MetaClip2Model) -> nn.Parameter:
    """Give a fresh model the sigmoid loss's scale to begin with, and its bias as `logit_bias` (arXiv 2303.15343, 3.2).

    The bias is trained and checkpointed with the other weights; whoever only embeds has no use for it.
    """
    with torch.no_grad():
        model.logit_scale.fill_(INITIAL_SIGMOID_SCALE)
    bias = nn.Parameter(torch.full_like(model.logit_scale, INITIAL_LOGIT_BIAS))
    model.register_parameter("logit_bias", bias)
    return bias


def lock_images_(model: MetaClip2Model) -> None:
    """Freeze all that makes an image's embedding, so that texts alone learn (locked-image tuning, arXiv 2111.07991).

    What takes no gradient builds no graph, so images are embedded as cheaply as in evaluation. To be called before the
    model is wrapped and its optimiser made, and again after each `train()`, which would wake its training mode.
    """
    for part in (model.vision_model, model.visual_projection):
        part.requires_grad_(requires_grad=False)
        part.eval()


def model_config(shape: ModelShape, *, vocab_size: int, frame: SpecialIds) -> MetaClip2Config:
    """Transformers' configuration of a model of `shape`."""
    text = _tower_config(shape.text, shape.activation) | {
        "vocab_size": vocab_size,
        "max_position_embeddings": shape.context_length,
        "projection_dim": shape.embedding_width,
        "bos_token_id": frame.bos,
        "eos_token_id": frame.eos,
        "pad_token_id": frame.pad,
    }
    vision = _tower_config(shape.vision, shape.activation) | {
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
        "projection_dim": shape.embedding_width,
    }
    return MetaClip2Config(
        text_config=text,
        vision_config=vision,
        projection_dim=shape.embedding_width,
        logit_scale_init_value=INITIAL_LOGIT_SCALE,
    )


def _tower_config(tower: TowerShape, activation: Activation) -> dict[str, int | str]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": tower.mlp_width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": activation.value,
    }


def shape_of(config: MetaClip2Config) -> ModelShape:
    """The shape of the model that `config` describes; the inverse of `model_config`.

    Raises:
        ValueError: the towers' activations differ, or are none of `Activation`.
    """
    vision: Any = config.vision_config  # typed as what they may be given as, too
    text: Any = config.text_config
    if vision.hidden_act != text.hidden_act:
        raise ValueError(f"the towers have different activations, {vision.hidden_act!r} and {text.hidden_act!r}")
    towers = [
        TowerShape(
            width=tower.hidden_size,
            layers=tower.num_hidden_layers,
            heads=tower.num_attention_heads,
            mlp_ratio=tower.intermediate_size / tower.hidden_size,
        )
        for tower in (vision, text)
    ]
    return ModelShape(
        image_size=vision.image_size,
        patch_size=vision.patch_size,
        vision=towers[0],
        text=towers[1],
        context_length=text.max_position_embeddings,
        embedding_width=vision.projection_dim,
        activation=Activation(text.hidden_act),
    )


def encode_images(model: MetaClip2Model, pixels: torch.Tensor) -> torch.Tensor:
    """Unit vectors [n, embedding_width] of uint8 `pixels` [n, 3, S, S], from any device, on the model's."""
    return unit(model.get_image_features(pixel_values=_normalise(pixels, model.device)).pooler_output)


def encode_texts(model: MetaClip2Model, input_ids: torch.Tensor) -> torch.Tensor:
    """Unit vectors [n, embedding_width] of int64 `input_ids` [n, L ≤ context], each row with an EOS, padded right."""
    return unit(model.get_text_features(input_ids=input_ids.to(model.device)).pooler_output)


def encode_pairs(model: nn.Module, pixels: torch.Tensor, input_ids: torch.Tensor) -> PairEmbeddings:
    """Both of the above through one `forward`, as training wrappers need it: `model` is MetaClip2Model or wraps it."""
    device = next(model.parameters()).device
    output = model(pixel_values=_normalise(pixels, device), input_ids=input_ids.to(device))
    return PairEmbeddings(
        images=unit(output.vision_model_output.pooler_output), texts=unit(output.text_model_output.pooler_output)
    )


def _normalise(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """float32 of uint8 [n, 3, S, S], standardised with CLIP's mean and deviation; bytes travel, not floats."""
    mean = torch.tensor(OPENAI_CLIP_MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(OPENAI_CLIP_STD, device=device).view(3, 1, 1)
    return (pixels.to(device).float() / 255 - mean) / std
