"""What a published model does with an image before it sees it: resize, cut out the centre, normalise.

Exactly the pixels of torchvision's Resize and CenterCrop on Pillow images, which open_clip and the papers use, so that
embeddings are theirs. Only what is no pixel differs: images are turned upright by EXIF, and transparency is laid on
white. Training crops otherwise, see `images`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from metaclip_core.images import decode_whole
from metaclip_core.records import DropReason


class Resize(StrEnum):
    """How an image becomes square."""

    SHORTEST = "shortest"  # the shorter side fits, and the centre is cut out
    SQUASH = "squash"  # both sides fit


_INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_RESAMPLES = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers, as Hugging Face writes them


@dataclass(frozen=True)
class Preprocessing:
    """Of one model; mean and standard deviation are of values in [0, 1]."""

    image_size: int
    resize: Resize = Resize.SHORTEST
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = tuple(OPENAI_CLIP_MEAN)
    std: tuple[float, ...] = tuple(OPENAI_CLIP_STD)

    def pixels(self, data: bytes, *, max_pixels: int) -> npt.NDArray[np.uint8] | DropReason:
        """uint8 [3, image_size, image_size] of an encoded image, or why not."""
        image = decode_whole(data, max_pixels=max_pixels)
        if isinstance(image, DropReason):
            return image
        size, (width, height) = self.image_size, image.size
        if self.resize is Resize.SQUASH:
            width, height = size, size
        elif width <= height:
            width, height = size, int(size * height / width)
        else:
            width, height = int(size * width / height), size
        resized = image.resize((width, height), _INTERPOLATIONS[self.interpolation])
        left, top = round((width - size) / 2.0), round((height - size) / 2.0)
        square = resized.crop((left, top, left + size, top + size))
        return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """float32 of uint8 `pixels` [n, 3, S, S]."""
        mean = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.std, device=pixels.device).view(3, 1, 1)
        return (pixels.float() / 255 - mean) / std


def from_hugging_face(content: Mapping[str, Any], *, image_size: int) -> Preprocessing:
    """Of a folder's preprocessor_config.json; what it does not say is CLIP's.

    Raises:
        ValueError: it makes images of another size than the model's, or interpolates otherwise.
    """
    size = content.get("crop_size" if content.get("do_center_crop", True) else "size", image_size)
    if isinstance(size, Mapping):
        size = size.get("height", size.get("shortest_edge"))
    if size != image_size:
        raise ValueError(f"the image processor makes images of {size} pixels, and the model sees {image_size}")
    resample = content.get("resample", 3)
    if resample not in _RESAMPLES:
        raise ValueError(f"the image processor resamples in a way that is not known here: {resample}")
    return Preprocessing(
        image_size=image_size,
        resize=Resize.SHORTEST if content.get("do_center_crop", True) else Resize.SQUASH,
        interpolation=_RESAMPLES[resample],
        mean=tuple(content.get("image_mean", OPENAI_CLIP_MEAN)),
        std=tuple(content.get("image_std", OPENAI_CLIP_STD)),
    )


def from_open_clip(content: Mapping[str, Any]) -> Preprocessing:
    """Of an open_clip model's `visual.preprocess_cfg`.

    Raises:
        ValueError: images are resized in a way that is not known here.
    """
    size = content["size"]
    image_size = size if isinstance(size, int) else size[0]
    known = {resize.value for resize in Resize}
    if content["resize_mode"] not in known or content["interpolation"] not in _INTERPOLATIONS:
        raise ValueError(
            f"open_clip's model resizes images by {content['resize_mode']!r} and {content['interpolation']!r}; "
            f"known are {', '.join(sorted(known))} and {', '.join(_INTERPOLATIONS)}"
        )
    return Preprocessing(
        image_size=image_size,
        resize=Resize(content["resize_mode"]),
        interpolation=content["interpolation"],
        mean=tuple(content["mean"]),
        std=tuple(content["std"]),
    )
