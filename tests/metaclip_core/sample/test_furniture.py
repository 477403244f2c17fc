import io
import json

import pytest
from PIL import Image

from metaclip_core.records import DropReason
from metaclip_core.sample.captions import Content, Text
from metaclip_core.sample.furniture import (
    SAMPLE_FATES,
    SHARES,
    TEXT_FATES,
    Furniture,
    document_bytes,
    furnish_texts,
    huge_png,
    image_bytes,
)
from metaclip_core.sample.seeding import Purpose, generator

TEXTS = (
    Text(kind="alt", text="zwölf mal zwölf", content=Content.NUMBER, languages=("de",)),
    Text(kind="title", text="twelve", content=Content.NUMBER, languages=("en",)),
)


@pytest.fixture
def rng():
    return generator(0, Purpose.TEXT)


def test_shares_of_what_loses_a_text_or_a_sample_are_six_to_eight_percent():
    lossy = SAMPLE_FATES.keys() | TEXT_FATES.keys()
    assert 0.06 <= sum(share for furniture, share in SHARES.items() if furniture in lossy) <= 0.08
    assert set(SHARES) | {Furniture.NONE, Furniture.HUGE_IMAGE} == set(Furniture)


def test_huge_png_is_tiny_and_declares_nine_hundred_million_pixels():
    data = huge_png()
    assert len(data) < 200
    with pytest.raises(Image.DecompressionBombError, match="900000000 pixels"):
        Image.open(io.BytesIO(data))


def test_document_without_furniture_is_plain_json():
    document = json.loads(document_bytes("https://a.example", TEXTS, Furniture.NONE))
    assert document == {
        "url": "https://a.example",
        "texts": [{"type": "alt", "text": "zwölf mal zwölf"}, {"type": "title", "text": "twelve"}],
    }


def test_document_with_broken_utf8_is_sound_json_once_decoded_with_replacement():
    data = document_bytes("https://a.example", TEXTS, Furniture.BROKEN_UTF8)
    with pytest.raises(UnicodeDecodeError):
        data.decode()
    texts = json.loads(data.decode("utf-8", "replace"))["texts"]
    assert "\ufffd" in texts[0]["text"]
    assert texts[1]["text"] == "twelve"


def test_document_with_lone_surrogate_parses_into_one():
    texts = json.loads(document_bytes("https://a.example", TEXTS, Furniture.LONE_SURROGATE))["texts"]
    assert texts[0]["text"].endswith("\ud83d")


def test_document_of_wrong_shape_parses_or_not_as_named():
    url = "https://a.example"
    assert document_bytes(url, TEXTS, Furniture.NO_JSON) is None
    with pytest.raises(json.JSONDecodeError):
        json.loads(document_bytes(url, TEXTS, Furniture.BROKEN_JSON))
    assert isinstance(json.loads(document_bytes(url, TEXTS, Furniture.JSON_LIST)), list)
    assert json.loads(document_bytes(url, TEXTS, Furniture.TEXTS_MISSING)) == {"url": url}
    assert json.loads(document_bytes(url, TEXTS, Furniture.NUMBER_AS_TEXT))["texts"][0]["text"] == 15


def test_furnish_texts_leaves_what_its_name_says(rng):
    assert furnish_texts(TEXTS, Furniture.NONE, rng) == TEXTS
    alt, title = furnish_texts(TEXTS, Furniture.BOILERPLATE_TITLE, rng)
    assert (alt, title.content, title.languages) == (TEXTS[0], Content.BOILERPLATE, ())
    assert not any(text.text.strip() for text in furnish_texts(TEXTS, Furniture.EMPTY_ONLY, rng))
    assert len(furnish_texts(TEXTS, Furniture.OVERLONG_TITLE, rng)[1].text) >= 20_000
    assert {furnish_texts(TEXTS, Furniture.ENTITIES, rng)[0].text for _ in range(60)} >= {
        "zwölf&nbsp;mal zwölf",
        "zw&#246;lf mal zw&#246;lf",
        "zwölf mal zwölf &amp;amp; &amp;copy; 2023",
    }


def test_image_bytes_without_image_furniture_are_untouched(rng):
    assert image_bytes(b"0123456789", Furniture.NONE, rng) == b"0123456789"
    assert image_bytes(b"0123456789", Furniture.TRUNCATED_IMAGE, rng) == b"01234"
    assert image_bytes(b"0123456789", Furniture.NO_IMAGE, rng) is None


def test_fates_are_reasons_of_the_funnel():
    reasons = [*SAMPLE_FATES.values(), *(reason for texts in TEXT_FATES.values() for reason in texts.values())]
    assert all(isinstance(reason, DropReason) for reason in reasons)
