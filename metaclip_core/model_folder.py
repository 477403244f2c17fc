"""A model's Hugging Face folder: written for anybody's programs, read from anybody, and therefore with care.

Weights are read from safetensors and nowhere else, no code of a folder is run, and nothing is downloaded. The same
function reads what was trained here and what others published.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedTokenizerFast,
)
from transformers.image_utils import PILImageResampling
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from metaclip_core.captions import save_tokenizer, special_ids
from metaclip_core.model import shape_of
from metaclip_core.shapes import ModelShape
from metaclip_core.tokenizer_folder import load_tokenizer

_MODEL_TYPE = "metaclip_2"
_CLIP_TYPE = "clip"
MODEL_TYPES = (_MODEL_TYPE, _CLIP_TYPE)  # that can be evaluated
_OLDEST_EOS = 2  # CLIP's first configurations say so, and its model then reads a text at its highest id
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_NOT_OF_THE_MODEL = ("position_ids", "logit_bias")  # kept by older versions; only the sigmoid loss has use for it
_LICENCE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "LICENCE.md")
_FENCE = "---"


@dataclass(frozen=True)
class Pretrained:
    """What training starts from. `licence` is that of the weights, None where the folder states none."""

    model: MetaClip2Model
    tokenizer: PreTrainedTokenizerFast
    licence: str | None


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

    Raises:
        ValueError: the folder is no MetaCLIP 2 model, its weights are pickled or not those of its configuration, or
            its tokenizer is another model's.
    """
    check_folder(directory, kinds=(_MODEL_TYPE,))
    config = MetaClip2Config.from_pretrained(directory, local_files_only=True)
    model: MetaClip2Model = _load_weights(MetaClip2Model, config, directory)
    return model, _load_tokenizer(directory, model)


def load_any_model(directory: Path) -> tuple[MetaClip2Model | CLIPModel, PreTrainedTokenizerFast]:
    """`load_model`, of a folder of any of MODEL_TYPES; MetaCLIP 1 is published as CLIP."""
    if check_folder(directory, kinds=MODEL_TYPES) == _MODEL_TYPE:
        return load_model(directory)
    config = CLIPConfig.from_pretrained(directory, local_files_only=True)
    model: CLIPModel = _load_weights(CLIPModel, config, directory)
    return model, _load_tokenizer(directory, model)


def _load_weights(kind: Any, config: Any, directory: Path) -> Any:  # noqa: ANN401 - transformers types no report
    model, loading = kind.from_pretrained(
        directory,
        config=config,
        local_files_only=True,
        use_safetensors=True,
        weights_only=True,
        ignore_mismatched_sizes=True,  # they are named below
        dtype=torch.float32,
        output_loading_info=True,
    )
    _check_weights(directory, loading)
    return model


def _load_tokenizer(directory: Path, model: MetaClip2Model | CLIPModel) -> PreTrainedTokenizerFast:
    tokenizer = load_tokenizer(directory)
    text = model.text_model.config
    eos = special_ids(tokenizer).eos
    oldest = text.model_type.startswith(_CLIP_TYPE) and text.eos_token_id == _OLDEST_EOS and eos == text.vocab_size - 1
    if not oldest and (eos != text.eos_token_id or len(tokenizer) > text.vocab_size):
        raise ValueError(
            f"{directory}: the tokenizer has {len(tokenizer)} pieces and EOS {eos}, "
            f"the model {text.vocab_size} and EOS {text.eos_token_id}"
        )
    return tokenizer


def load_pretrained(directory: Path, *, shape: ModelShape) -> Pretrained:
    """A model to train further, in training mode, with its tokenizer and the licence of its weights.

    Raises:
        ValueError: see `load_model`; or the model is not of `shape`.
    """
    model, tokenizer = load_model(directory)
    found, expected = dataclasses.asdict(shape_of(model.config)), dataclasses.asdict(shape)
    differing = [name for name, value in expected.items() if found[name] != value]
    if differing:
        name = differing[0]
        raise ValueError(f"{directory} holds a model of another shape: {name} is {found[name]}, not {expected[name]}")
    return Pretrained(model.train(), tokenizer, read_licence(directory))


def read_licence(directory: Path) -> str | None:
    """The licence that a model folder states: by its model card's front matter, or else its licence file's first line.

    Raises:
        ValueError: the card's front matter is no YAML.
    """
    card = directory / "README.md"
    if card.is_file() and (stated := _stated_licence(card)):
        return stated
    for name in _LICENCE_FILES:
        if (file := directory / name).is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            return next((line.strip() for line in lines if line.strip()), None)
    return None


def _stated_licence(card: Path) -> str | None:
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != _FENCE or _FENCE not in lines[1:]:
        return None
    try:
        matter = yaml.safe_load("\n".join(lines[1 : lines.index(_FENCE, 1)]))
    except yaml.YAMLError as error:
        raise ValueError(f"the front matter of {card} is no YAML") from error
    if not isinstance(matter, dict) or not matter.get("license"):
        return None
    licence = matter["license"]
    if licence == "other" and matter.get("license_name"):
        licence = matter["license_name"]
    return ", ".join(map(str, licence)) if isinstance(licence, list) else str(licence)


def check_folder(directory: Path, *, kinds: tuple[str, ...]) -> str:
    """The `model_type` of a folder, one of `kinds`. Looks before transformers does, whose errors are about hubs.

    Raises:
        ValueError: it holds no model, one of another kind, or pickled weights alone.
    """
    try:
        kind = json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"]
    except FileNotFoundError as error:
        raise ValueError(f"{directory} holds no model: there is no config.json") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{directory} holds no model: its config.json names no model_type") from error
    if kind not in kinds:
        raise ValueError(f"{directory} holds a {kind!r} model, expected {' or '.join(map(repr, kinds))}")
    if any(directory.glob("*.safetensors")):
        return str(kind)
    pickles = sorted(path.name for pattern in _PICKLES for path in directory.glob(pattern))
    if pickles:
        raise ValueError(f"{directory} has pickled weights alone ({pickles[0]}); only safetensors are read")
    raise ValueError(f"{directory} holds no weights: there is no .safetensors file")


def _check_weights(directory: Path, loading: dict[str, Any]) -> None:
    """What the file and the configuration do not agree on would otherwise stay at random, in silence."""
    resized = [(key, list(stored), list(wanted)) for key, stored, wanted in loading["mismatched_keys"]]
    if resized:
        key, stored, wanted = min(resized)
        raise ValueError(
            f"{directory} has {len(resized)} weights of other sizes than its config.json says, "
            f"among them {key}: {stored}, not {wanted}"
        )
    missing = sorted(loading["missing_keys"])
    if missing:
        raise ValueError(f"{directory} lacks {len(missing)} weights of its model, among them {missing[0]}")
    foreign = sorted(key for key in loading["unexpected_keys"] if not key.endswith(_NOT_OF_THE_MODEL))
    if foreign:
        raise ValueError(f"{directory} has {len(foreign)} weights that its model lacks, among them {foreign[0]}")
