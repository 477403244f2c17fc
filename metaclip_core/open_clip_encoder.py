"""open_clip's models as encoders: a folder as `metaclip export-model` writes it, or a name with a file of weights.

Weights are never unpickled, and nothing is downloaded: a name whose tokenizer lies on a hub needs the folder instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError  # what torch raises for what it does not unpickle
from typing import Any

import numpy as np
import numpy.typing as npt
import open_clip
import torch
from safetensors import SafetensorError

from metaclip_core.preprocessing import from_open_clip

FOLDER_CONFIG = "open_clip_config.json"
_UNREADABLE = (RuntimeError, OSError, KeyError, SafetensorError, UnpicklingError)


class OpenClipEncoder:
    """A model of open_clip with its tokenizer."""

    def __init__(self, model: Any, tokenizer: Any, *, device: str) -> None:  # noqa: ANN401 - open_clip is not typed
        self._model, self._tokenizer, self._device = model.eval(), tokenizer, device
        self.preprocessing = from_open_clip(model.visual.preprocess_cfg)
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.width = self.texts([""]).shape[1]

    def images(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU, of pixels [n, 3, S, S]."""
        with torch.inference_mode():
            values = self.preprocessing.normalise(torch.from_numpy(pixels).to(self._device))
            embedded: torch.Tensor = self._model.encode_image(values, normalize=True)
            return embedded.cpu()

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU."""
        with torch.inference_mode():
            embedded: torch.Tensor = self._model.encode_text(
                self._tokenizer(list(texts)).to(self._device), normalize=True
            )
            return embedded.cpu()


def load_open_clip_folder(directory: Path, *, device: str) -> OpenClipEncoder:
    """The encoder of a folder with open_clip_config.json. Raises ValueError where it can't be read."""
    name = f"local-dir:{directory}"
    try:
        model = open_clip.create_model(name, device=device, require_pretrained=True, weights_only=True)
        tokenizer = open_clip.get_tokenizer(name)
    except _UNREADABLE as error:
        raise ValueError(f"open_clip can't read {directory}: {error}") from error
    return OpenClipEncoder(model, tokenizer, device=device)


def load_open_clip_weights(name: str, weights: Path, *, device: str) -> OpenClipEncoder:
    """The encoder of one of open_clip's architectures with weights of a local file.

    Raises:
        ValueError: open_clip has no such architecture, its tokenizer lies on a hub, or the weights are not its.
    """
    config = open_clip.get_model_config(name)
    if config is None:
        raise ValueError(f"open_clip has no architecture {name!r}")
    hub = config["text_cfg"].get("hf_tokenizer_name")
    if hub:
        raise ValueError(
            f"open_clip's {name} takes its tokenizer {hub} from a hub, and nothing is downloaded here: "
            f"give a folder with {FOLDER_CONFIG}, its weights and the tokenizer's files"
        )
    try:
        model = open_clip.create_model(name, pretrained=str(weights), device=device, weights_only=True)
    except _UNREADABLE as error:
        raise ValueError(f"{weights} holds no weights of open_clip's {name}: {str(error).splitlines()[0]}") from error
    return OpenClipEncoder(model, open_clip.get_tokenizer(name), device=device)
