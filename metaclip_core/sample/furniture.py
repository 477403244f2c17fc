"""The page furniture of the web: texts that say nothing, documents and images that are broken."""

from __future__ import annotations

import html
import json
import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import numpy as np

from metaclip_core.records import DropReason
from metaclip_core.sample.captions import Content, Text


class Furniture(StrEnum):
    """What is odd about a sample; exactly one applies."""

    NONE = "none"
    # nothing is lost
    BOILERPLATE_TITLE = "boilerplate_title"
    BOILERPLATE_ONLY = "boilerplate_only"
    ENTITIES = "entities"
    DOTTED_KEY = "dotted_key"
    # one of the texts is lost
    EMPTY_TITLE = "empty_title"
    OVERLONG_TITLE = "overlong_title"
    BROKEN_UTF8 = "broken_utf8"
    LONE_SURROGATE = "lone_surrogate"
    NUMBER_AS_TEXT = "number_as_text"
    # the sample is lost
    EMPTY_ONLY = "empty_only"
    BROKEN_JSON = "broken_json"
    JSON_LIST = "json_list"
    TEXTS_MISSING = "texts_missing"
    NO_JSON = "no_json"
    NO_IMAGE = "no_image"
    GARBAGE_IMAGE = "garbage_image"
    TRUNCATED_IMAGE = "truncated_image"
    HUGE_IMAGE = "huge_image"  # one in the pool
    # seen before, in an earlier shard
    REPEATED = "repeated"
    RECAPTIONED = "recaptioned"


SHARES: Mapping[Furniture, float] = MappingProxyType(
    {
        Furniture.BOILERPLATE_TITLE: 0.10,
        Furniture.BOILERPLATE_ONLY: 0.02,
        Furniture.ENTITIES: 0.04,
        Furniture.DOTTED_KEY: 0.01,
        Furniture.EMPTY_TITLE: 0.010,
        Furniture.OVERLONG_TITLE: 0.004,
        Furniture.BROKEN_UTF8: 0.006,
        Furniture.LONE_SURROGATE: 0.003,
        Furniture.NUMBER_AS_TEXT: 0.004,
        Furniture.EMPTY_ONLY: 0.004,
        Furniture.BROKEN_JSON: 0.005,
        Furniture.JSON_LIST: 0.003,
        Furniture.TEXTS_MISSING: 0.003,
        Furniture.NO_JSON: 0.004,
        Furniture.NO_IMAGE: 0.005,
        Furniture.GARBAGE_IMAGE: 0.006,
        Furniture.TRUNCATED_IMAGE: 0.006,
        Furniture.REPEATED: 0.006,
        Furniture.RECAPTIONED: 0.004,
    }
)

# Why the whole sample is lost; samples of other furniture are usable.
SAMPLE_FATES: Mapping[Furniture, DropReason] = MappingProxyType(
    {
        Furniture.EMPTY_ONLY: DropReason.NO_CAPTION,
        Furniture.BROKEN_JSON: DropReason.BAD_METADATA,
        Furniture.JSON_LIST: DropReason.BAD_METADATA,
        Furniture.TEXTS_MISSING: DropReason.NO_CAPTION,
        Furniture.NO_JSON: DropReason.NO_CAPTION,
        Furniture.NO_IMAGE: DropReason.NO_IMAGE,
        Furniture.GARBAGE_IMAGE: DropReason.IMAGE_BROKEN,
        Furniture.TRUNCATED_IMAGE: DropReason.IMAGE_BROKEN,
        Furniture.HUGE_IMAGE: DropReason.IMAGE_PIXELS_OVER_LIMIT,
        Furniture.REPEATED: DropReason.DUPLICATE,
        Furniture.RECAPTIONED: DropReason.DUPLICATE,
    }
)

# Why one text of the sample is lost: its kind, and the reason.
TEXT_FATES: Mapping[Furniture, Mapping[str, DropReason]] = MappingProxyType(
    {
        Furniture.EMPTY_TITLE: {"title": DropReason.CAPTION_EMPTY},
        Furniture.EMPTY_ONLY: {"alt": DropReason.CAPTION_EMPTY, "title": DropReason.CAPTION_EMPTY},
        Furniture.OVERLONG_TITLE: {"title": DropReason.CAPTION_OVER_LIMIT},
        Furniture.BROKEN_UTF8: {"alt": DropReason.CAPTION_BROKEN_TEXT},
        Furniture.LONE_SURROGATE: {"alt": DropReason.CAPTION_BROKEN_TEXT},
        Furniture.NUMBER_AS_TEXT: {"alt": DropReason.CAPTION_BAD_SHAPE},
    }
)

BOILERPLATE = (
    "image",
    "thumbnail",
    "click here",
    "Share on Facebook",
    "photo 1 of 12",
    "Read more",
    "logo",
    "Bild",
    "Hier klicken",
    "Auf Facebook teilen",
    "Cliquez ici",
    "Partager sur Facebook",
    "Haz clic aquí",
    "Compartir en Facebook",
    "Clicca qui",
    "Klik hier",
    "Kliknij tutaj",
    "Нажмите здесь",
    "Поделиться",
    "Tıklayın",
    "画像",
    "続きを読む",
    "اضغط هنا",
    "Nhấn vào đây",
)
_CAMERA_SHARE = 0.3
_LEAST_OVERLONG, _MOST_OVERLONG = 20_000, 60_000
_MARK = "@@broken@@"  # stands in a text for bytes that JSON cannot be asked to write
_BROKEN_BYTES = b"\xc3\x28\xff\xfe"
_HUGE_SIDE = 30_000


def furnish_texts(texts: tuple[Text, Text], furniture: Furniture, rng: np.random.Generator) -> tuple[Text, Text]:
    """`texts` (alt, title) as `furniture` leaves them."""
    alt, title = texts
    match furniture:
        case Furniture.BOILERPLATE_TITLE:
            title = _boilerplate(title, rng)
        case Furniture.BOILERPLATE_ONLY:
            alt, title = _boilerplate(alt, rng), _boilerplate(title, rng)
        case Furniture.ENTITIES:
            alt = replace(alt, text=_with_entities(alt.text, rng))
        case Furniture.EMPTY_TITLE:
            title = _empty(title, rng)
        case Furniture.EMPTY_ONLY:
            alt, title = _empty(alt, rng), _empty(title, rng)
        case Furniture.OVERLONG_TITLE:
            length = int(rng.integers(_LEAST_OVERLONG, _MOST_OVERLONG))
            title = replace(title, text=(f"{title.text}. " * length)[:length])
        case _:
            pass
    return alt, title


def document_bytes(url: str, texts: tuple[Text, Text], furniture: Furniture) -> bytes | None:
    """The sample's JSON document, or what `furniture` makes of it; None if it has none."""
    if furniture is Furniture.NO_JSON:
        return None
    document: Any = {"url": url, "texts": [{"type": text.kind, "text": text.text} for text in texts]}
    match furniture:
        case Furniture.JSON_LIST:
            document = document["texts"]
        case Furniture.TEXTS_MISSING:
            del document["texts"]
        case Furniture.NUMBER_AS_TEXT:
            document["texts"][0]["text"] = len(texts[0].text)
        case Furniture.BROKEN_UTF8 | Furniture.LONE_SURROGATE:
            document["texts"][0]["text"] += _MARK
        case _:
            pass
    whole = json.dumps(document, ensure_ascii=False).encode()
    if furniture is Furniture.BROKEN_JSON:
        return whole[: len(whole) * 2 // 3]
    mark = rb"\ud83d" if furniture is Furniture.LONE_SURROGATE else _BROKEN_BYTES
    return whole.replace(_MARK.encode(), mark)


def image_bytes(image: bytes, furniture: Furniture, rng: np.random.Generator) -> bytes | None:
    """The sample's encoded image, or what `furniture` makes of it; None if it has none."""
    match furniture:
        case Furniture.NO_IMAGE:
            return None
        case Furniture.GARBAGE_IMAGE:
            return rng.bytes(int(rng.integers(16, 4096)))
        case Furniture.TRUNCATED_IMAGE:
            return image[: len(image) // 2]
        case Furniture.HUGE_IMAGE:
            return huge_png()
        case _:
            return image


def huge_png() -> bytes:
    """A PNG of a few bytes that declares 30,000 x 30,000 pixels of RGB: 2.7 GB for a decoder that believes it."""
    header = struct.pack(">IIBBBBB", _HUGE_SIDE, _HUGE_SIDE, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(64))
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    encoded = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(encoded)


def _boilerplate(text: Text, rng: np.random.Generator) -> Text:
    if rng.random() < _CAMERA_SHARE:
        words = f"IMG_{int(rng.integers(10_000)):04d}.jpg"
    else:
        words = BOILERPLATE[int(rng.integers(len(BOILERPLATE)))]
    return replace(text, text=words, content=Content.BOILERPLATE, languages=())


def _empty(text: Text, rng: np.random.Generator) -> Text:
    blanks = ("", " ", "\n\t", "\u00a0")
    return replace(text, text=blanks[int(rng.integers(len(blanks)))], content=Content.NOTHING, languages=())


def _with_entities(text: str, rng: np.random.Generator) -> str:
    """`text` as a page's source holds it, once in a while escaped twice."""
    variants = (
        text.replace(" ", "&nbsp;", 1),
        f"{text} &amp; more",
        f"&quot;{text}&quot;",
        text.encode("ascii", "xmlcharrefreplace").decode(),
        html.escape(f"{text} &amp; &copy; 2023"),
    )
    return variants[int(rng.integers(len(variants)))]
