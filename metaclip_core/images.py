"""Image bytes → uint8 pixels [3, S, S], or the reason why not. The crop is a function of numbers the caller draws.

Only the raster formats of the web are opened. Size is judged from the header, before any pixel is decoded.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from metaclip_core.records import DropReason

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")  # of animations, the first frame
CROP_AREA = (0.9, 1.0)  # of the image's area
CROP_ASPECT = (3 / 4, 4 / 3)  # width / height

_PNG, _RIFF, _WEBP = b"\x89PNG\r\n\x1a\n", b"RIFF", b"WEBP"  # first bytes

_Needed = Callable[[tuple[int, int]], tuple[int, int]]

# What Pillow raises for bytes that are no sound image; OSError holds UnidentifiedImageError, AssertionError is a PNG
# with indices and no palette. Found by a million mutated files.
_BROKEN = (OSError, EOFError, SyntaxError, ValueError, TypeError, AssertionError, struct.error)

_UPRIGHT = MappingProxyType(
    {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
)


@dataclass(frozen=True)
class Crop:
    """Four numbers, uniform in [0, 1), that decide a random resized crop."""

    area: float
    aspect: float
    left: float
    top: float


class Box(NamedTuple):
    """A part of an image in pixels, fractions included, as Pillow takes it."""

    left: float
    top: float
    right: float
    bottom: float


def decode(
    data: bytes, *, image_size: int, max_pixels: int, crop: Crop | None, reduced: bool = False
) -> npt.NDArray[np.uint8] | DropReason:
    """uint8 [3, image_size, image_size] of an encoded image: upright by EXIF, RGB, bicubic with antialiasing.

    Transparency is laid on white; 16-bit grey keeps its high byte; CMYK is converted without its profile. Without a
    crop, the shorter side is resized to `image_size` and the centre cut out, as for evaluation.

    Args:
        data: of an image.
        image_size: pixels of a side.
        max_pixels: of the whole image.
        crop: numbers that decide a random resized crop.
        reduced: decode a JPEG at 1/2, 1/4 or 1/8 of its size where what is cut out still has `image_size` pixels on
            each side: much faster, and nearly the same.

    Returns:
        The pixels; or IMAGE_PIXELS_OVER_LIMIT, if the header announces more than `max_pixels`; or IMAGE_BROKEN.
    """

    def box_of(size: tuple[int, int]) -> Box:
        return centre_crop(*size) if crop is None else random_resized_crop(*size, uniforms=crop)

    def needed(size: tuple[int, int]) -> tuple[int, int]:
        box = box_of(size)
        most = min(box.right - box.left, box.bottom - box.top) / image_size  # by which the image may be reduced
        return math.ceil(size[0] / max(most, 1.0)), math.ceil(size[1] / max(most, 1.0))

    opened = _open(data, max_pixels=max_pixels, needed=needed if reduced else None)
    if isinstance(opened, DropReason):
        return opened
    across, down = (now / before for now, before in zip(opened.colours.size, opened.size, strict=True))
    box = box_of(opened.size)
    box = Box(box.left * across, box.top * down, box.right * across, box.bottom * down)
    square = opened.colours.resize((image_size, image_size), Image.Resampling.BICUBIC, box=box)
    if opened.upright is not None:  # turning the small square is the same as turning the image, and cheaper
        square = square.transpose(opened.upright)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))


def decode_reduced(data: bytes, *, max_pixels: int, least_side: int) -> Image.Image | DropReason:
    """An encoded image, upright and RGB as in `decode`, at an integer fraction of its size, for a JPEG while decoding.

    Both sides keep at least `least_side` pixels, if they have them, and the shorter fewer than twice as many.

    Returns:
        The image; or IMAGE_PIXELS_OVER_LIMIT, if the header announces more than `max_pixels`; or IMAGE_BROKEN.
    """
    opened = _open(data, max_pixels=max_pixels, needed=lambda _: (least_side, least_side))
    if isinstance(opened, DropReason):
        return opened
    factor = max(1, min(opened.colours.size) // least_side)
    reduced = opened.colours.reduce(factor)
    return reduced if opened.upright is None else reduced.transpose(opened.upright)


def decode_whole(data: bytes, *, max_pixels: int) -> Image.Image | DropReason:
    """All of an encoded image, upright and RGB as in `decode`.

    Returns:
        The image; or IMAGE_PIXELS_OVER_LIMIT, if the header announces more than `max_pixels`; or IMAGE_BROKEN.
    """
    opened = _open(data, max_pixels=max_pixels, needed=None)
    if isinstance(opened, DropReason):
        return opened
    return opened.colours if opened.upright is None else opened.colours.transpose(opened.upright)


@dataclass(frozen=True)
class _Opened:
    """All pixels as RGB as they are stored, and what turns them upright."""

    colours: Image.Image
    size: tuple[int, int]  # of the image, which the colours have unless they were reduced
    upright: Image.Transpose | None


def _open(data: bytes, *, max_pixels: int, needed: _Needed | None) -> _Opened | DropReason:
    """`needed`: width and height that must be left of those of the image; None: all."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow comments on the data: bombs, bad EXIF, odd palettes
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.width * image.height > max_pixels:
                    return DropReason.IMAGE_PIXELS_OVER_LIMIT
                size, upright = image.size, _upright(image)
                if needed is not None:
                    image.draft(None, needed(size))
                return _Opened(_to_rgb(image), size, upright)
        except Image.DecompressionBombError:
            return DropReason.IMAGE_PIXELS_OVER_LIMIT
        except _BROKEN:
            return DropReason.IMAGE_BROKEN


def suffix_of(data: bytes) -> str:
    """`jpg`, `png` or `webp` by an image's first bytes; `jpg` for all others, as pools name what readers look into."""
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_RIFF) and data[8:12] == _WEBP:
        return "webp"
    return "jpg"


def centre_crop(width: int, height: int) -> Box:
    """The largest centred square."""
    return _centred(width, height, aspect=1.0)


def random_resized_crop(width: int, height: int, *, uniforms: Crop) -> Box:
    """A box of 0.9 to 1 of the image's area and an aspect of 3/4 to 4/3 (uniform in its logarithm), inside the image.

    Area and aspect are drawn from what fits, where others try again and again. An image so long that nothing fits
    gives its largest centred box of the nearest aspect.
    """
    image_aspect = width / height
    # A box of share a and aspect r fits if a · image_aspect ≤ r ≤ image_aspect / a.
    max_area = min(CROP_AREA[1], CROP_ASPECT[1] / image_aspect, image_aspect / CROP_ASPECT[0])
    if max_area < CROP_AREA[0]:
        return _centred(width, height, aspect=min(max(image_aspect, CROP_ASPECT[0]), CROP_ASPECT[1]))
    area = _between(CROP_AREA[0], max_area, uniforms.area)
    narrowest = math.log(max(CROP_ASPECT[0], area * image_aspect))
    widest = math.log(min(CROP_ASPECT[1], image_aspect / area))
    aspect = math.exp(_between(narrowest, widest, uniforms.aspect))
    box_width = min(math.sqrt(area * width * height * aspect), width)
    box_height = min(math.sqrt(area * width * height / aspect), height)
    left = uniforms.left * (width - box_width)
    top = uniforms.top * (height - box_height)
    return Box(left, top, min(left + box_width, width), min(top + box_height, height))


def _centred(width: int, height: int, *, aspect: float) -> Box:
    box_width = min(width, height * aspect)
    box_height = min(height, width / aspect)
    left, top = (width - box_width) / 2, (height - box_height) / 2
    return Box(left, top, min(left + box_width, width), min(top + box_height, height))


def _between(low: float, high: float, uniform: float) -> float:
    return low + (high - low) * uniform


def _upright(image: Image.Image) -> Image.Transpose | None:
    """What turns the stored pixels upright by the EXIF orientation; nothing where the EXIF data is broken."""
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        return None


def _to_rgb(image: Image.Image) -> Image.Image:
    """All pixels of `image`, decoded, as RGB."""
    if image.mode.startswith("I"):  # 16-bit grey; convert() would clip it
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        opaque = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", opaque.size, "white"), opaque).convert("RGB")
    return image.convert("RGB")
