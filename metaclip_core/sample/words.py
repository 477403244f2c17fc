"""The numbers 0 to 99 in words, in every language that num2words speaks well."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from num2words import CONVERTER_CLASSES, num2words

NUM_NUMBERS = 100

# num2words codes that are left out. Regional variants (`fr_CH`) are left out as well: one code a language.
_SKIPPED = frozenset(
    {
        "da",  # 60 to 69 are built on "treds", which Danish spells "tres"
        "kn",  # 21 to 39 lack the sandhi of their two parts and are no words (ಇಪ್ಪತ್ತ್ ಒಂದು for ಇಪ್ಪತ್ತೊಂದು)
    }
)

# First letters that do not capitalise as Unicode's default says.
_CAPITALS: Mapping[str, Mapping[str, str]] = {"az": {"i": "İ"}, "nl": {"é": "E"}, "tr": {"i": "İ"}}


@cache
def number_words() -> Mapping[str, tuple[str, ...]]:
    """num2words code → the cardinals of 0 to 99, each one text without blanks at its ends, all different."""
    words: dict[str, tuple[str, ...]] = {}
    for code in sorted(CONVERTER_CLASSES):
        if code in _SKIPPED or "_" in code:
            continue
        # Telugu's 50 ends in a blank.
        words[code] = tuple(str(num2words(number, lang=code)).strip() for number in range(NUM_NUMBERS))
    return MappingProxyType(words)


def capitalised(word: str, code: str) -> str:
    """`word` with a capital first letter, as the language `code` writes it; unchanged in scripts without capitals."""
    return _CAPITALS.get(code, {}).get(word[0], word[0].upper()) + word[1:]
