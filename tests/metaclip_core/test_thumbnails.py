import io

import numpy as np
import pytest
from PIL import Image

from metaclip_core.records import DropReason
from metaclip_core.thumbnails import thumbnail


def encoded(size, image_format="PNG", colour=(200, 100, 50)):
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("size", [(300, 40), (40, 300), (7, 7), (1, 1)])
@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "GIF"])
def test_thumbnail_of_any_image_is_a_small_square_jpeg(size, image_format):
    small = Image.open(io.BytesIO(thumbnail(encoded(size, image_format), size=32, max_pixels=100_000)))
    assert (small.format, small.size) == ("JPEG", (32, 32))
    np.testing.assert_allclose(np.asarray(small).mean(axis=(0, 1)), (200, 100, 50), atol=6)


def test_thumbnail_of_what_is_broken_or_too_large_is_its_reason():
    assert thumbnail(b"<script>", size=32, max_pixels=100) is DropReason.IMAGE_BROKEN
    assert thumbnail(encoded((11, 10)), size=32, max_pixels=100) is DropReason.IMAGE_PIXELS_OVER_LIMIT
