"""How an image looks, in a few numbers that a copy of it shares: recompressed, resized, or with a thin border.

The perceptual hash is ImageHash's `phash` of 256 bits. It tells structure: it says nothing of colours, and where there
is no structure it is noise. Hence three more numbers: the colours of a coarse grid, in which copies differ by a few
levels; the contrast, which says whether there is structure at all; and the aspect ratio. `neighbours` compares them.

A border moves everything inward, which alone changes a quarter of the bits. So an image whose outermost lines are each
of one colour has a second form: what is left without a border of 2 %.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

from metaclip_core.images import Box, decode_reduced
from metaclip_core.records import DropReason

_DIGEST_BYTES = 16
_HASH_SIDE = 16  # bits
_GREY_SIDE = 64  # pixels that `phash` takes of an image, four for each bit
_LEAST_SIDE = 2 * _GREY_SIDE
_COLOUR_SIDE = 4  # cells
_MARGIN = 0.02  # of a side that is not looked at: a border that is not quite as thick as expected leaves a step there
_BORDER = 0.02  # of a side of the image within it
_BORDER_AND_MARGIN = (_BORDER + _MARGIN) / (1 + 2 * _BORDER)  # of a side of the image with its border
_FLAT = 14.0  # standard deviation, in levels, of a line of one colour after a strong compression


@dataclass(frozen=True)
class Form:
    """One form of an image, as a row of LOOK without the digest."""

    hash: bytes
    colours: bytes
    contrast: int
    aspect: float


def digest(data: bytes) -> bytes:
    """128 bits that name the bytes of an image."""
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def look(data: bytes, *, max_pixels: int) -> list[dict[str, Any]]:
    """The rows of an encoded image: LOOK and drop_reason; one for each form, or one that says why there is none."""
    own = digest(data)
    found = forms(data, max_pixels=max_pixels)
    if isinstance(found, DropReason):
        return [{"digest": own, "drop_reason": str(found)}]
    return [{"digest": own, **vars(form), "drop_reason": None} for form in found]


def forms(data: bytes, *, max_pixels: int) -> list[Form] | DropReason:
    """The one or two forms of an encoded image, whole and without a border; or why it does not decode."""
    image = decode_reduced(data, max_pixels=max_pixels, least_side=_LEAST_SIDE)
    if isinstance(image, DropReason):
        return image
    grey = image.convert("L")
    cuts = [_MARGIN, _BORDER_AND_MARGIN] if _may_have_border(np.asarray(grey)) else [_MARGIN]
    return [_form(image, grey, _inside(image, cut)) for cut in cuts]


def _inside(image: Image.Image, cut: float) -> Box:
    left, top = image.width * cut, image.height * cut
    return Box(left, top, image.width - left, image.height - top)


def _form(image: Image.Image, grey: Image.Image, box: Box) -> Form:
    small = grey.resize((_GREY_SIDE, _GREY_SIDE), Image.Resampling.BICUBIC, box=box)
    cells = image.resize((_COLOUR_SIDE, _COLOUR_SIDE), Image.Resampling.BOX, box=box)
    return Form(
        hash=np.packbits(imagehash.phash(small, hash_size=_HASH_SIDE).hash).tobytes(),
        colours=cells.tobytes(),
        contrast=_contrast(np.asarray(small)),
        aspect=math.log2((box.right - box.left) / (box.bottom - box.top)),
    )


def _contrast(grey: npt.NDArray[np.uint8]) -> int:
    levels = grey.astype(np.int16)
    return int(max(np.abs(np.diff(levels, axis=axis)).max() for axis in (0, 1)))


def _may_have_border(grey: npt.NDArray[np.uint8]) -> bool:
    return all(_is_flat(line) for line in (grey[0], grey[-1], grey[:, 0], grey[:, -1]))


def _is_flat(line: npt.NDArray[np.uint8]) -> bool:
    spread = int(line.max()) - int(line.min())  # twice the deviation at least, and found sooner
    return spread <= 2 * _FLAT or bool(line.std() <= _FLAT)
