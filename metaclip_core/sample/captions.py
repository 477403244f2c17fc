"""The texts of an image: which languages say its number, and how."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from metaclip_core.languages import metadata_language
from metaclip_core.sample.carriers import CARRIERS, fill
from metaclip_core.sample.seeding import pick, zipf_shares
from metaclip_core.sample.words import capitalised, number_words

ENGLISH_SHARE = 0.44
BARE_SHARE = 0.08  # of the languages without carriers, together
_CARRIER_EXPONENT = 0.15  # so mild that each of the twenty languages can be learnt
_BARE_EXPONENT = 0.8
_MIXED_SHARE = 0.04  # texts in two languages
_SECOND_TEXT_TRANSLATED_SHARE = 0.25

# num2words codes of the languages without carriers, by descending share.
_BARE_LANGUAGES = (
    *("ko", "fa", "th", "he", "sk", "no", "sr", "ca", "lt", "sl", "bn", "lv"),
    *("az", "kz", "be", "te", "am", "is", "cy", "eo", "tg", "ce", "tet"),
)
_BARE_TEMPLATES = ("{number}", "{capital}", "{digits}: {number}", "№ {digits} – {number}")


class Content(StrEnum):
    """What a text is about."""

    NUMBER = "number"
    BOILERPLATE = "boilerplate"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Text:
    """A text of an image, as it goes into its JSON document."""

    kind: str  # alt or title
    text: str
    content: Content
    languages: tuple[str, ...] = ()  # metadata languages that say the number


@cache
def language_shares() -> tuple[tuple[str, ...], NDArray[np.float64]]:
    """num2words codes, English first, then carriers, then bare words; and the share of captions in each."""
    carriers = tuple(CARRIERS)
    shares = np.concatenate(
        [
            [ENGLISH_SHARE],
            zipf_shares(len(carriers) - 1, exponent=_CARRIER_EXPONENT) * (1 - ENGLISH_SHARE - BARE_SHARE),
            zipf_shares(len(_BARE_LANGUAGES), exponent=_BARE_EXPONENT) * BARE_SHARE,
        ]
    )
    return carriers + _BARE_LANGUAGES, shares


def draw_texts(number: int, rng: np.random.Generator) -> tuple[Text, Text]:
    """An alt and a title text that both say `number`, mostly in one language."""
    code = _draw_language(rng)
    second = _draw_language(rng) if rng.random() < _SECOND_TEXT_TRANSLATED_SHARE else code
    return _draw_text("alt", code, number, rng), _draw_text("title", second, number, rng)


def _draw_language(rng: np.random.Generator) -> str:
    codes, shares = language_shares()
    return codes[pick(rng, shares)]


def _draw_text(kind: str, code: str, number: int, rng: np.random.Generator) -> Text:
    codes = [code]
    if rng.random() < _MIXED_SHARE:
        codes.append(_draw_language(rng))
    text = " | ".join(_caption(c, number, rng) for c in codes)
    languages = tuple(dict.fromkeys(metadata_language(c, namespace="num2words") for c in codes))
    return Text(kind=kind, text=text, content=Content.NUMBER, languages=languages)


def _caption(code: str, number: int, rng: np.random.Generator) -> str:
    word = number_words()[code][number]
    capital = capitalised(word, code)
    if code in CARRIERS:
        templates = CARRIERS[code]
        return fill(templates[int(rng.integers(len(templates)))], word, capital)
    template = _BARE_TEMPLATES[int(rng.integers(len(_BARE_TEMPLATES)))]
    return template.format(number=word, capital=capital, digits=number)
