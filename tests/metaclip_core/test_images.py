import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from metaclip_core.images import CROP_AREA, CROP_ASPECT, Crop, centre_crop, decode, random_resized_crop, suffix_of
from metaclip_core.records import DropReason

LIMIT = 1_000_000
UNIFORM = st.floats(0, 1, exclude_max=True)
CROPS = st.builds(Crop, area=UNIFORM, aspect=UNIFORM, left=UNIFORM, top=UNIFORM)


def encoded(image, image_format="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def gradient(width, height):
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    return Image.fromarray(np.stack([x, y, 255 - x], axis=-1).astype(np.uint8))


def evaluated(data, size=8):
    return decode(data, image_size=size, max_pixels=LIMIT, crop=None)


def png_announcing(width, height):
    """The beginning of a PNG of that size, as far as its first, empty piece of pixel data."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((13, header), (0, b"IDAT"))
    written = (struct.pack(">I", n) + chunk + struct.pack(">I", zlib.crc32(chunk)) for n, chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_every_format_of_the_web_gives_pixels_channels_first(image_format):
    pixels = evaluated(encoded(Image.new("RGB", (20, 12), (200, 100, 50)), image_format))
    assert pixels.shape == (3, 8, 8)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    np.testing.assert_allclose(pixels.mean(axis=(1, 2)), (200, 100, 50), atol=4)


@pytest.mark.parametrize(
    ("image_format", "suffix"), [("JPEG", "jpg"), ("PNG", "png"), ("WEBP", "webp"), ("GIF", "jpg"), ("BMP", "jpg")]
)
def test_suffix_follows_from_the_bytes(image_format, suffix):
    assert suffix_of(encoded(gradient(4, 4), image_format)) == suffix


@pytest.mark.parametrize("data", [b"", b"\x89PN", b"RIFF", b"RIFF\0\0\0\0WAVE", b"no image"])
def test_suffix_of_what_is_none_of_them_is_jpg(data):
    assert suffix_of(data) == "jpg"


@pytest.mark.parametrize("image_format", ["TIFF", "ICO", "PPM"])
def test_a_format_that_is_not_allowed_is_broken(image_format):
    assert evaluated(encoded(gradient(16, 16), image_format)) is DropReason.IMAGE_BROKEN


def test_an_image_of_the_right_size_is_returned_unchanged():
    image = gradient(8, 8)
    np.testing.assert_array_equal(evaluated(encoded(image)), np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff", b"GIF89a", b"RIFF\x00\x00\x00\x00WEBP", b"<svg/>"])
def test_garbage_is_broken(data):
    assert evaluated(data) is DropReason.IMAGE_BROKEN


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_image_is_broken(image_format):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    data = encoded(noise, image_format)
    assert evaluated(data[: len(data) // 2]) is DropReason.IMAGE_BROKEN


def test_the_header_alone_tells_that_an_image_is_too_large():
    assert evaluated(png_announcing(1001, 1000)) is DropReason.IMAGE_PIXELS_OVER_LIMIT
    assert evaluated(png_announcing(1000, 1000)) is DropReason.IMAGE_BROKEN


@pytest.mark.parametrize("side", [10_000, 60_000])
def test_a_decompression_bomb_is_over_the_limit_without_a_warning(side):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert evaluated(png_announcing(side, side)) is DropReason.IMAGE_PIXELS_OVER_LIMIT
    assert not caught


def test_mutated_files_give_pixels_or_a_reason():
    rng = np.random.default_rng(7)
    exif = Image.Exif()
    exif[0x0112] = 6
    sources = [
        encoded(gradient(20, 16), "JPEG", exif=exif),
        encoded(gradient(20, 16).convert("P"), "PNG", transparency=0),
        encoded(gradient(20, 16), "WEBP", exif=exif),
        encoded(gradient(20, 16).convert("P"), "GIF"),
    ]
    for trial in range(400):
        data = bytearray(sources[trial % len(sources)])
        for position in rng.integers(0, min(len(data), 150), size=3):
            data[position] = rng.integers(256)
        outcome = evaluated(bytes(data))
        assert isinstance(outcome, np.ndarray | DropReason)


def test_transparent_pixels_become_white():
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 4, 8))
    pixels = evaluated(encoded(image))
    assert tuple(pixels[:, 4, 0]) == (255, 0, 0)
    assert tuple(pixels[:, 4, 7]) == (255, 255, 255)


def test_the_transparent_colour_of_a_palette_becomes_white():
    image = Image.new("P", (8, 8), 1)
    image.putpalette([9, 9, 9, 0, 0, 255])
    image.paste(0, (0, 0, 4, 8))
    pixels = evaluated(encoded(image, transparency=0))
    assert tuple(pixels[:, 4, 0]) == (255, 255, 255)
    assert tuple(pixels[:, 4, 7]) == (0, 0, 255)


def test_grey_of_16_bits_keeps_its_high_byte():
    grey = np.full((8, 8), 0x80FF, dtype=np.uint16)
    np.testing.assert_array_equal(evaluated(encoded(Image.fromarray(grey))), np.full((3, 8, 8), 0x80))


@pytest.mark.parametrize(("mode", "image_format"), [("L", "JPEG"), ("1", "PNG"), ("LA", "PNG"), ("CMYK", "JPEG")])
def test_white_is_white_in_every_mode(mode, image_format):
    data = encoded(Image.new("RGB", (8, 8), "white").convert(mode), image_format)
    np.testing.assert_allclose(evaluated(data), np.full((3, 8, 8), 255), atol=2)


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("P", (8, 8), 0), Image.new("P", (8, 8), 1)]
    for frame in frames:
        frame.putpalette([255, 0, 0, 0, 255, 0])
    pixels = evaluated(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert tuple(pixels[:, 4, 4]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(8, 8), (12, 8), (8, 14)])
def test_exif_orientation_is_applied(orientation, size):
    upright = gradient(*size)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    expected = evaluated(encoded(upright)).astype(int)
    np.testing.assert_allclose(evaluated(encoded(stored, exif=exif)), expected, atol=1)


def test_broken_exif_does_not_cost_the_image():
    data = encoded(gradient(8, 8), "JPEG", exif=b"Exif\x00\x00XX nonsense")
    assert isinstance(evaluated(data), np.ndarray)


def test_evaluation_cuts_out_the_centre_of_the_longer_side():
    image = Image.new("RGB", (24, 8), "black")
    image.paste((255, 255, 255), (8, 0, 16, 8))
    np.testing.assert_array_equal(evaluated(encoded(image)), np.full((3, 8, 8), 255))
    assert centre_crop(24, 8) == (8, 0, 16, 8)
    assert centre_crop(8, 24) == (0, 8, 8, 16)


def test_the_same_numbers_give_the_same_crop_and_others_another():
    data = encoded(gradient(40, 30))
    first = decode(data, image_size=16, max_pixels=LIMIT, crop=Crop(0.1, 0.2, 0.3, 0.4))
    again = decode(data, image_size=16, max_pixels=LIMIT, crop=Crop(0.1, 0.2, 0.3, 0.4))
    other = decode(data, image_size=16, max_pixels=LIMIT, crop=Crop(0.1, 0.2, 0.9, 0.4))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), uniforms=CROPS)
def test_a_crop_lies_inside_the_image(width, height, uniforms):
    box = random_resized_crop(width, height, uniforms=uniforms)
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


@given(width=st.integers(100, 4000), aspect=st.floats(0.8, 1.25), uniforms=CROPS)
def test_a_crop_of_a_usual_image_keeps_area_and_aspect_in_their_ranges(width, aspect, uniforms):
    height = round(width / aspect)
    box = random_resized_crop(width, height, uniforms=uniforms)
    crop_width, crop_height = box.right - box.left, box.bottom - box.top
    assert CROP_AREA[0] - 1e-6 <= crop_width * crop_height / (width * height) <= CROP_AREA[1] + 1e-6
    assert CROP_ASPECT[0] - 1e-6 <= crop_width / crop_height <= CROP_ASPECT[1] + 1e-6


@given(uniforms=CROPS)
def test_an_image_too_long_for_any_crop_gives_its_centre(uniforms):
    assert random_resized_crop(400, 100, uniforms=uniforms) == pytest.approx((400 / 3, 0, 800 / 3, 100))


@given(uniforms=CROPS, width=st.integers(1, 3), height=st.integers(1, 3))
def test_the_smallest_images_can_be_cropped_and_resized(uniforms, width, height):
    data = encoded(Image.new("RGB", (width, height), (10, 20, 30)))
    pixels = decode(data, image_size=4, max_pixels=LIMIT, crop=uniforms)
    assert tuple(pixels[:, 0, 0]) == (10, 20, 30)


def photo_like(width, height, seed=0):
    """Smooth at all scales, as photographs are."""
    rng = np.random.default_rng(seed)
    image = sum(
        np.asarray(Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)).resize((width, height)), float)
        / side
        for side in (3, 6, 12, 24, 48)
    )
    scaled = 255 * (image - image.min()) / np.ptp(image)
    file = io.BytesIO()
    Image.fromarray(scaled.astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1024, 1024), (2000, 700), (641, 1500)])
@given(uniforms=st.builds(Crop, *[st.floats(0, 1, exclude_max=True)] * 4))
@settings(max_examples=8)
def test_reduced_decoding_shows_the_same_part_nearly_as_it_is(size, uniforms):
    data = photo_like(*size)
    options = {"image_size": 96, "max_pixels": 10**7, "crop": uniforms}
    full, reduced = decode(data, **options), decode(data, **options, reduced=True)
    assert np.abs(full.astype(int) - reduced).mean() <= 3


@given(width=st.integers(32, 130), height=st.integers(32, 130))
@settings(max_examples=20)
def test_image_of_less_than_twice_the_size_is_not_reduced(width, height):
    options = {"image_size": 65, "max_pixels": 10**7, "crop": None}
    data = photo_like(width, height)
    assert (decode(data, **options) == decode(data, **options, reduced=True)).all()


def test_formats_that_cannot_be_reduced_stay_as_they_are():
    image = Image.open(io.BytesIO(photo_like(400, 400)))
    file = io.BytesIO()
    image.save(file, "PNG")
    options = {"image_size": 40, "max_pixels": 10**7, "crop": None}
    assert (decode(file.getvalue(), **options) == decode(file.getvalue(), **options, reduced=True)).all()


def test_reduced_decoding_turns_the_image_upright_too():
    image = Image.open(io.BytesIO(photo_like(900, 600)))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=90)
    options = {"image_size": 60, "max_pixels": 10**7, "crop": None}
    full, reduced = decode(file.getvalue(), **options), decode(file.getvalue(), **options, reduced=True)
    assert np.abs(full.astype(int) - reduced).mean() <= 3
