"""Small pictures for pages: made anew from the pixels, so that nothing of a pool's bytes reaches a browser."""

from __future__ import annotations

import io

from PIL import Image

from metaclip_core.images import decode
from metaclip_core.records import DropReason

_QUALITY = 75


def thumbnail(data: bytes, *, size: int, max_pixels: int) -> bytes | DropReason:
    """A JPEG of the centre of an encoded image, `size` pixels wide and high; or why there is none.

    Args:
        data: any bytes.
        size: in pixels.
        max_pixels: of the image; larger ones are not decoded.
    """
    pixels = decode(data, image_size=size, max_pixels=max_pixels, crop=None)
    if isinstance(pixels, DropReason):
        return pixels
    encoded = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(encoded, "JPEG", quality=_QUALITY)
    return encoded.getvalue()
