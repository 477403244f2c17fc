"""Models to evaluate: our checkpoints' and others' Hugging Face folders, and open_clip's.

A model is named by the URI of its folder, or as `open_clip:ARCHITECTURE@URI` with the file of its weights.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from metaclip_core.encoders import Encoder, load_hugging_face
from metaclip_core.model_folder import MODEL_TYPES, check_folder
from pipelines import storage
from pipelines.errors import UserError

_OPEN_CLIP = "open_clip:"
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_CONFIG = "config.json"
_PIECE = 8 << 20


@dataclass(frozen=True)
class _Named:
    """One of open_clip's architectures."""

    architecture: str
    weights_uri: str


def model_name(model: str) -> str:
    """A short name for tables: the last parts of what names the model."""
    named = _named(model)
    return (
        f"{named.architecture}@{named.weights_uri.rsplit('/', 1)[-1]}"
        if named
        else model.rstrip("/").rsplit("/", 1)[-1]
    )


def check_model(model: str) -> None:
    """Look before anything is started.

    Raises:
        UserError: there is no such model, or it is one of another architecture than can be evaluated.
    """
    named = _named(model)
    if named is not None:
        if not storage.exists(named.weights_uri):
            raise UserError(f"no weights at {named.weights_uri}")
        return
    names = storage.list_names(model)
    if _OPEN_CLIP_CONFIG in names:
        return
    if _CONFIG not in names:
        raise UserError(f"no model at {model}: it holds neither {_CONFIG} nor {_OPEN_CLIP_CONFIG}")
    try:
        kind = json.loads(storage.read_bytes(storage.join(model, _CONFIG))).get("model_type")
    except (ValueError, AttributeError) as error:
        raise UserError(f"{model}/{_CONFIG} is no configuration of a model") from error
    if kind not in MODEL_TYPES:
        raise UserError(
            f"{model} holds a model of architecture {kind!r}; evaluated are {', '.join(MODEL_TYPES)} and open_clip's"
        )
    if not any(name.endswith(".safetensors") for name in names):
        raise UserError(f"{model} holds no .safetensors file, and pickled weights are not read")


def load_encoder(model: str) -> Encoder:
    """The model, on a GPU where this process has one.

    Raises:
        UserError: see `check_model`; or its weights, tokenizer or image processor do not fit it.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    named = _named(model)
    try:
        if named is not None:
            from metaclip_core.open_clip_encoder import load_open_clip_weights  # noqa: PLC0415 - an optional extra

            with storage.local_file(named.weights_uri) as weights:
                return load_open_clip_weights(named.architecture, weights, device=str(device))
        with storage.local_copy(model) as folder:
            return _load_folder(folder, device)
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install '.[evaluation]' in the checkout") from error
    except (ValueError, FileNotFoundError) as error:
        raise UserError(f"{model}: {storage.first_line(error)}") from error


def _load_folder(folder: Path, device: torch.device) -> Encoder:
    if (folder / _OPEN_CLIP_CONFIG).is_file():
        from metaclip_core.open_clip_encoder import load_open_clip_folder  # noqa: PLC0415 - an optional extra

        return load_open_clip_folder(folder, device=str(device))
    check_folder(folder, kinds=MODEL_TYPES)
    return load_hugging_face(folder, device=device)


def model_digest(model: str) -> str:
    """A hash of all that a model embeds with: configuration, weights, tokenizer; the same wherever it lies."""
    named = _named(model)
    if named is not None:
        return storage.version_of("model", 1, architecture=named.architecture, weights=_digest(named.weights_uri))
    names = sorted(storage.list_names(model))
    files = {name: _digest(storage.join(model, name)) for name in names if not name.endswith(".md")}
    return storage.version_of("model", 1, files=files)


def _digest(uri: str) -> str:
    filesystem, path = storage.resolve(uri)
    digest = hashlib.sha256()
    with filesystem.open_input_stream(path) as stream:
        while piece := stream.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _named(model: str) -> _Named | None:
    if not model.startswith(_OPEN_CLIP):
        return None
    architecture, separator, weights = model.removeprefix(_OPEN_CLIP).partition("@")
    if not architecture or not separator or not weights:
        raise UserError(f"a model of open_clip is named open_clip:ARCHITECTURE@WEIGHTS, got {model!r}")
    return _Named(architecture, weights)
