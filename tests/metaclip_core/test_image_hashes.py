import hashlib
import io

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from metaclip_core.image_hashes import digest, forms, look
from metaclip_core.near_groups import EDGES, find_edges, resolve
from metaclip_core.neighbours import NUM_BANDS, Looks, keys
from metaclip_core.records import DropReason
from tests.pictures import KINDS, bordered, copies, encoded, lossless, scaled

LIMIT = 10_000_000


def looks_of(images):
    """Looks of encoded images, in order."""
    found = [(number, form) for number, data in enumerate(images) for form in forms(data, max_pixels=LIMIT)]
    numbers, rows = zip(*found, strict=True)
    return Looks(
        np.array(numbers),
        np.array([np.frombuffer(digest(images[number]), np.uint64) for number in numbers]),
        np.array([np.frombuffer(form.hash, np.uint64) for form in rows]),
        np.array([np.frombuffer(form.colours, np.uint8) for form in rows]).astype(np.int16),
        np.array([form.contrast for form in rows], np.uint8),
        np.array([form.aspect for form in rows], np.float32),
    )


def near_duplicates(images):
    """{image that goes: keeper}."""
    looks = looks_of(images)
    tables = [find_edges(looks, *found, distance=20).table for found in keys(looks)]
    gone, keepers = resolve(pa.concat_tables([EDGES.empty_table(), *tables]))
    return dict(zip(gone.tolist(), keepers.tolist(), strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_copies_of_a_picture_go_whatever_it_shows(kind):
    rng = np.random.default_rng(5)
    original = KINDS[kind](rng)
    images = [encoded(original), *copies(original, rng).values()]
    assert near_duplicates(images) == dict.fromkeys(range(1, len(images)), 0)


def test_different_pictures_stay():
    rng = np.random.default_rng(6)
    images = [encoded(make(rng)) for make in KINDS.values() for _ in range(5)]
    assert near_duplicates(images) == {}


def test_the_same_shape_in_other_colours_stays():
    pixels = np.zeros((200, 300, 3), np.uint8)
    pixels[60:140, 80:220] = (200, 40, 40)
    assert near_duplicates([lossless(Image.fromarray(colours)) for colours in (pixels, pixels[..., ::-1])]) == {}


def test_the_hash_is_the_library_s_of_what_lies_within_the_margin():
    rng = np.random.default_rng(7)
    image = KINDS["shapes"](rng).resize((200, 150))
    inner = image.crop((4, 3, 196, 147))
    [form, *_] = forms(lossless(image), max_pixels=LIMIT)
    theirs = np.packbits(imagehash.phash(inner, hash_size=16).hash)
    assert np.bitwise_count(np.frombuffer(form.hash, np.uint8) ^ theirs).sum() <= 4


def test_a_jpeg_decoded_at_a_fraction_of_its_size_looks_like_all_of_it():
    rng = np.random.default_rng(8)
    image = scaled(KINDS["shapes"](rng), 3)
    assert min(image.size) >= 8 * 64
    assert near_duplicates([lossless(image), encoded(image, quality=95)]) == {1: 0}


def test_an_image_with_plain_edges_has_a_second_form_without_them():
    rng = np.random.default_rng(17)
    image = KINDS["texture"](rng)
    plain, framed = (forms(lossless(made), max_pixels=LIMIT) for made in (image, bordered(image, (250, 250, 250))))
    assert (len(plain), len(framed)) == (1, 2)
    whole, *hashes = (np.frombuffer(form.hash, np.uint8) for form in [*plain, *framed])
    apart = [np.bitwise_count(whole ^ other).sum() for other in hashes]
    assert apart[1] < NUM_BANDS < apart[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_hashed_upright(orientation):
    rng = np.random.default_rng(10)
    image = KINDS["shapes"](rng)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = image.transpose(undo[orientation]) if orientation in undo else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "JPEG", exif=exif, quality=92)
    assert near_duplicates([encoded(image), buffer.getvalue()]) == {1: 0}


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 400), (3, 2), (5_000, 1)])
def test_the_smallest_images_have_a_look(width, height):
    assert forms(lossless(Image.new("RGB", (width, height), (9, 90, 190))), max_pixels=LIMIT)


def test_an_image_that_does_not_decode_has_a_digest_and_a_reason():
    data = encoded(Image.new("RGB", (64, 64)))[:100]
    assert look(data, max_pixels=LIMIT) == [{"digest": digest(data), "drop_reason": DropReason.IMAGE_BROKEN}]
    assert digest(data) == hashlib.blake2b(data, digest_size=16).digest()


def test_an_image_over_the_limit_is_not_decoded():
    data = lossless(Image.new("RGB", (1_001, 1_000)))
    assert [row["drop_reason"] for row in look(data, max_pixels=1_000_000)] == [DropReason.IMAGE_PIXELS_OVER_LIMIT]
