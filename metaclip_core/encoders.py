"""Models of several families behind one interface: bytes of images and texts in, unit vectors out.

MetaCLIP 2, CLIP (as which MetaCLIP 1 is published) and, in `open_clip_encoder`, whatever open_clip builds. Each sees
images as its publisher prepared them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from transformers import CLIPModel, MetaClip2Model, PreTrainedTokenizerFast

from metaclip_core.batches import caption_buckets
from metaclip_core.caption_groups import pad_to_bucket
from metaclip_core.captions import CaptionEncoder, special_ids
from metaclip_core.embeddings import unit
from metaclip_core.model_folder import load_any_model
from metaclip_core.preprocessing import Preprocessing, from_hugging_face

_PROCESSOR = "preprocessor_config.json"
_PROCESSOR_OF_ALL = "processor_config.json"  # where newer versions of transformers keep it


class Encoder(Protocol):
    """One model."""

    width: int  # of its embeddings
    logit_scale: float  # by which similarities are multiplied before a softmax
    preprocessing: Preprocessing

    def images(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU, of pixels [n, 3, S, S]."""

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU."""


class HuggingFaceEncoder:
    """A MetaCLIP 2 or CLIP model with its tokenizer."""

    def __init__(
        self,
        model: MetaClip2Model | CLIPModel,
        tokenizer: PreTrainedTokenizerFast,
        preprocessing: Preprocessing,
        *,
        device: torch.device,
    ) -> None:
        self._model = model.to(device)  # type: ignore[arg-type] # transformers wraps `to`
        self._context_length = int(model.text_model.config.max_position_embeddings)
        self._captions = CaptionEncoder(tokenizer, context_length=self._context_length)
        self._pad_id = special_ids(tokenizer).pad
        self.width = int(model.visual_projection.out_features)
        self.logit_scale = float(model.logit_scale.detach().exp())
        self.preprocessing = preprocessing

    def images(self, pixels: npt.NDArray[np.uint8]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU, of pixels [n, 3, S, S]."""
        with torch.inference_mode():
            values = self.preprocessing.normalise(torch.from_numpy(pixels).to(self._model.device))
            return unit(self._model.get_image_features(pixel_values=values).pooler_output).cpu()

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Unit vectors float32 [n, width], on the CPU."""
        ids = pad_to_bucket(
            self._captions.encode(texts), buckets=caption_buckets(self._context_length), pad_id=self._pad_id
        )
        with torch.inference_mode():
            return unit(self._model.get_text_features(input_ids=ids.to(self._model.device)).pooler_output).cpu()


def load_hugging_face(directory: Path, *, device: torch.device) -> HuggingFaceEncoder:
    """The encoder of a local folder.

    Raises:
        ValueError: see `model_folder.load_any_model`; or its image processor is not known.
    """
    model, tokenizer = load_any_model(directory)
    image_size = int(model.vision_model.config.image_size)
    preprocessing = from_hugging_face(_read_processor(directory), image_size=image_size)
    return HuggingFaceEncoder(model, tokenizer, preprocessing, device=device)


def _read_processor(directory: Path) -> dict[str, object]:
    for name in (_PROCESSOR, _PROCESSOR_OF_ALL):
        if (file := directory / name).is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            return dict(content.get("image_processor", content))
    return {}
