"""The two towers: transformers' MetaClip2Model in the shapes that are trained here, and its Hugging Face folder.

Text is causal and read at the first EOS, so right padding changes nothing and no attention mask is needed. Embeddings
are unit vectors in at least float32, whatever precision the towers ran in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPImageProcessor,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedTokenizerFast,
)
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from metaclip_core.captions import load_tokenizer, save_tokenizer, special_ids

INITIAL_LOGIT_SCALE = math.log(1 / 0.07)
_MLP_RATIO = 4


@dataclass(frozen=True)
class TowerShape:
    """A transformer of `width`, which its attention `heads` share; the MLPs are four times as wide."""

    width: int
    layers: int
    heads: int


@dataclass(frozen=True)
class ModelShape:
    """All that sets the size of a model, but for its vocabulary. Sizes in pixels and tokens."""

    image_size: int
    patch_size: int
    vision: TowerShape
    text: TowerShape
    context_length: int
    embedding_width: int


class Preset(StrEnum):
    """Names of the shapes in `SHAPES`."""

    TINY = "tiny"
    B_32 = "vit-b-32"
    L_14 = "vit-l-14"
    H_14 = "vit-h-14"


SHAPES: Mapping[Preset, ModelShape] = MappingProxyType(
    {
        # For the sample of handwritten numbers on two CPU cores.
        Preset.TINY: ModelShape(24, 4, TowerShape(96, 3, 3), TowerShape(96, 2, 3), 24, 96),
        Preset.B_32: ModelShape(224, 32, TowerShape(768, 12, 12), TowerShape(512, 12, 8), 77, 512),
        Preset.L_14: ModelShape(224, 14, TowerShape(1024, 24, 16), TowerShape(768, 12, 12), 77, 768),
        Preset.H_14: ModelShape(224, 14, TowerShape(1280, 32, 16), TowerShape(1024, 24, 16), 77, 1024),
    }
)


@dataclass(frozen=True)
class PairEmbeddings:
    """Unit vectors [n, embedding_width] of n images and their n captions."""

    images: torch.Tensor
    texts: torch.Tensor


def create_model(shape: ModelShape, tokenizer: PreTrainedTokenizerFast, *, seed: int) -> MetaClip2Model:
    """A fresh float32 model on the CPU; `seed` alone decides its weights, and torch's own generator is left as it was.

    The tokenizer gives vocabulary size, BOS, PAD and the EOS at which text is pooled.

    Raises:
        ValueError: the tokenizer can't frame captions, see `captions.special_ids`.
    """
    frame = special_ids(tokenizer)
    text = _tower_config(shape.text) | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": shape.context_length,
        "projection_dim": shape.embedding_width,
        "bos_token_id": frame.bos,
        "eos_token_id": frame.eos,
        "pad_token_id": frame.pad,
    }
    vision = _tower_config(shape.vision) | {
        "image_size": shape.image_size,
        "patch_size": shape.patch_size,
        "projection_dim": shape.embedding_width,
    }
    config = MetaClip2Config(
        text_config=text,
        vision_config=vision,
        projection_dim=shape.embedding_width,
        logit_scale_init_value=INITIAL_LOGIT_SCALE,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MetaClip2Model(config)


def _tower_config(tower: TowerShape) -> dict[str, int | str]:
    return {
        "hidden_size": tower.width,
        "intermediate_size": _MLP_RATIO * tower.width,
        "num_hidden_layers": tower.layers,
        "num_attention_heads": tower.heads,
        "hidden_act": "quick_gelu",
    }


def encode_images(model: MetaClip2Model, pixels: torch.Tensor) -> torch.Tensor:
    """Unit vectors [n, embedding_width] of uint8 `pixels` [n, 3, S, S], from any device, on the model's."""
    return _unit(model.get_image_features(pixel_values=_normalise(pixels, model.device)).pooler_output)


def encode_texts(model: MetaClip2Model, input_ids: torch.Tensor) -> torch.Tensor:
    """Unit vectors [n, embedding_width] of int64 `input_ids` [n, L ≤ context], each row with an EOS, padded right."""
    return _unit(model.get_text_features(input_ids=input_ids.to(model.device)).pooler_output)


def encode_pairs(model: nn.Module, pixels: torch.Tensor, input_ids: torch.Tensor) -> PairEmbeddings:
    """Both of the above through one `forward`, as training wrappers need it: `model` is MetaClip2Model or wraps it."""
    device = next(model.parameters()).device
    output = model(pixel_values=_normalise(pixels, device), input_ids=input_ids.to(device))
    return PairEmbeddings(
        images=_unit(output.vision_model_output.pooler_output), texts=_unit(output.text_model_output.pooler_output)
    )


def _normalise(pixels: torch.Tensor, device: torch.device) -> torch.Tensor:
    """float32 of uint8 [n, 3, S, S], standardised with CLIP's mean and deviation; bytes travel, not floats."""
    mean = torch.tensor(OPENAI_CLIP_MEAN, device=device).view(3, 1, 1)
    std = torch.tensor(OPENAI_CLIP_STD, device=device).view(3, 1, 1)
    return (pixels.to(device).float() / 255 - mean) / std


def _unit(features: torch.Tensor) -> torch.Tensor:
    return functional.normalize(features.to(torch.promote_types(features.dtype, torch.float32)), dim=-1)


def save_model(model: MetaClip2Model, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write a folder that AutoModel and AutoProcessor load: safetensors, configuration, tokenizer, image processor.

    `directory` is local and best fresh; the caller publishes it.
    """
    size = model.vision_model.embeddings.image_size
    model.save_pretrained(directory)
    save_tokenizer(tokenizer, directory)
    CLIPImageProcessor(
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        resample=PILImageResampling.BICUBIC,
        image_mean=list(OPENAI_CLIP_MEAN),
        image_std=list(OPENAI_CLIP_STD),
    ).save_pretrained(directory)


def load_model(directory: Path) -> tuple[MetaClip2Model, PreTrainedTokenizerFast]:
    """The float32 model, in evaluation mode on the CPU, and the tokenizer of a local Hugging Face folder.

    Only safetensors are read, no code of the folder is run and nothing is downloaded.

    Raises:
        ValueError: the folder is no MetaCLIP 2 model, its weights are incomplete, or its tokenizer is another model's.
    """
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} holds no model: there is no config.json")
    config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
    if not isinstance(config, MetaClip2Config):
        raise ValueError(f"{directory} holds a {config.model_type!r} model, expected 'metaclip_2'")  # noqa: TRY004
    model, loading = AutoModel.from_pretrained(
        directory,
        config=config,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
    )
    amiss = sorted({*loading["missing_keys"], *(key for key, *_ in loading["mismatched_keys"])})
    if amiss:
        raise ValueError(f"{directory} lacks {len(amiss)} weights of its model, among them {amiss[0]}")
    tokenizer = load_tokenizer(directory)
    text = model.text_model.config
    eos = special_ids(tokenizer).eos
    if eos != text.eos_token_id or len(tokenizer) > text.vocab_size:
        raise ValueError(
            f"{directory}: the tokenizer has {len(tokenizer)} pieces and EOS {eos}, "
            f"the model {text.vocab_size} and EOS {text.eos_token_id}"
        )
    return model, tokenizer
