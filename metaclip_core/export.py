"""A model for open_clip: its checkpoint, its configuration and our tokenizer, in one folder.

open_clip's CLIP is the same function with its weights otherwise arranged: queries, keys and values in one matrix, the
projections transposed, the positions bare tensors. `open_clip.create_model_from_pretrained("local-dir:FOLDER")` reads
the folder, and `open_clip.get_tokenizer` too. Our code needs no open_clip to write it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import MetaClip2Model, PreTrainedTokenizerFast
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from metaclip_core.captions import save_tokenizer, special_ids
from metaclip_core.model import shape_of
from metaclip_core.shapes import Activation

_CONFIG = "open_clip_config.json"
_WEIGHTS = "open_clip_model.safetensors"
_Weights = dict[str, torch.Tensor]

_LAYER_PARTS = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def save_open_clip(model: MetaClip2Model, tokenizer: PreTrainedTokenizerFast, directory: Path) -> None:
    """Write the folder; `directory` is local and best fresh, and the caller publishes it.

    Images are to be resized so that the shorter edge fits, bicubically, and cropped at the centre, as ours are.
    """
    directory.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": open_clip_config(model, tokenizer), "preprocess_cfg": _preprocessing()}
    (directory / _CONFIG).write_text(json.dumps(config, indent=2), encoding="utf-8")
    weights = open_clip_weights(model)
    save_file({name: weight.contiguous() for name, weight in weights.items()}, directory / _WEIGHTS)
    save_tokenizer(tokenizer, directory)


def open_clip_config(model: MetaClip2Model, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """open_clip's `model_cfg`. A folder's tokenizer is read from the folder, whatever its name here."""
    shape = shape_of(model.config)
    config: dict[str, Any] = {
        "embed_dim": shape.embedding_width,
        "quick_gelu": shape.activation is Activation.QUICK_GELU,
        "vision_cfg": {
            "image_size": shape.image_size,
            "layers": shape.vision.layers,
            "width": shape.vision.width,
            "head_width": shape.vision.width // shape.vision.heads,
            "mlp_ratio": shape.vision.mlp_ratio,
            "patch_size": shape.patch_size,
        },
        "text_cfg": {
            "hf_tokenizer_name": ".",
            "pool_type": "eos",
            "eos_id": special_ids(tokenizer).eos,
            "context_length": shape.context_length,
            "vocab_size": model.text_model.embeddings.token_embedding.num_embeddings,
            "width": shape.text.width,
            "heads": shape.text.heads,
            "layers": shape.text.layers,
            "mlp_ratio": shape.text.mlp_ratio,
        },
    }
    if "logit_bias" in dict(model.named_parameters()):
        config["init_logit_bias"] = 0.0  # that it has one; its value is a weight
    return config


def open_clip_weights(model: MetaClip2Model) -> _Weights:
    """The weights by open_clip's names; views of ours where nothing is rearranged."""
    ours = {name: parameter.detach() for name, parameter in model.named_parameters()}
    theirs = {
        "visual.class_embedding": ours["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": ours["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": ours["vision_model.embeddings.patch_embedding.weight"],
        "visual.proj": ours["visual_projection.weight"].T,
        "token_embedding.weight": ours["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": ours["text_model.embeddings.position_embedding.weight"],
        "text_projection": ours["text_projection.weight"].T,
        "logit_scale": ours["logit_scale"],
    }
    norms = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    for their_name, our_name in norms.items():
        theirs |= {f"{their_name}.{part}": ours[f"{our_name}.{part}"] for part in ("weight", "bias")}
    for their_tower, our_tower in (("visual.transformer", "vision_model"), ("transformer", "text_model")):
        for number in range(len(getattr(model, our_tower).encoder.layers)):
            layer = _layer(ours, f"{our_tower}.encoder.layers.{number}")
            theirs |= {f"{their_tower}.resblocks.{number}.{name}": weight for name, weight in layer}
    if "logit_bias" in ours:
        theirs["logit_bias"] = ours["logit_bias"]
    return theirs


def _layer(ours: _Weights, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    for part in ("weight", "bias"):
        for their_name, our_name in _LAYER_PARTS.items():
            yield f"{their_name}.{part}", ours[f"{prefix}.{our_name}.{part}"]
        projections = [ours[f"{prefix}.self_attn.{which}_proj.{part}"] for which in "qkv"]
        yield f"attn.in_proj_{part}", torch.cat(projections)


def _preprocessing() -> dict[str, Any]:
    return {
        "mean": list(OPENAI_CLIP_MEAN),
        "std": list(OPENAI_CLIP_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
