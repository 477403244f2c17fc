"""One normaliser for captions and entries, so that an entry occurs in a caption as a plain substring.

The default form (`NormaliserMode.UNICODE`) reads a text as tokens and writes them with one blank between:

- a **word** is a run of characters of a script that is written with spaces, marks included;
- an **unspaced run** is a run of characters of a script that is not (Han, kana, Thai, …), marks included;
- each **punctuation mark or symbol** stands alone, apostrophes and underscores too.

An entry's end gets a blank unless it lies in an unspaced run. So `car` is not found in `cars`, but `U.S.` in `the
U.S. army`, 東京 in 東京都, and `50` in 画像50枚.

What is invisible: white space and controls separate tokens. Format characters (bidi marks, soft hyphen, byte order
mark, zero-width space, tags) and variation selectors are removed, for whether they are written is chance; in Khmer
and Thai the zero-width space is an optional line-break hint. The zero-width (non-)joiner is spelling in Persian and
in Indic scripts: it is kept inside a word, and removed elsewhere. Letters keep their case and width, and typographic
variants of a mark stay different, for matching is on raw text.

Characters are classed by the Unicode tables of the running Python; blocks of Han and of pictographs are classed as
a whole, so that characters of a later Unicode version fare alike.
"""

from __future__ import annotations

import re
import string
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import groupby


class NormaliserMode(StrEnum):
    """How texts are made comparable."""

    UNICODE = "unicode"  # every script and mark; see the module
    PAPER = "paper"  # as the published reference, for exact ablations: `U.S.` never matches, kana are words


class Normaliser:
    """Makes captions and entries comparable: an entry occurs in a caption where its form is a substring.

    Any str is fine, the empty one too; a lone surrogate is a symbol.
    """

    def __init__(self, mode: NormaliserMode | str = NormaliserMode.UNICODE) -> None:
        self.mode = NormaliserMode(mode)
        forms = {
            NormaliserMode.UNICODE: (_unicode_caption, _unicode_entry),
            NormaliserMode.PAPER: (_paper_caption, _paper_entry),
        }
        self._caption, self._entry = forms[self.mode]

    def caption(self, text: str) -> str:
        """The form of a caption, with a blank at both ends; in unicode mode "" where nothing visible is left."""
        return self._caption(text)

    def entry(self, text: str) -> str:
        """The form of an entry. "" where nothing visible is left: skip such an entry, for it occurs in any text."""
        return self._entry(text)


def _unicode_caption(text: str) -> str:
    found = tokens(text)
    return f" {' '.join(found)} " if found else ""


def _unicode_entry(text: str) -> str:
    found = tokens(text)
    if not found:
        return ""
    before, after = ("" if is_unspaced_run(token) else " " for token in (found[0], found[-1]))
    return before + " ".join(found) + after


_ASCII_TOKENS = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")


def tokens(text: str) -> list[str]:
    """The tokens of `text` that the default form is made of: words, unspaced runs, single marks and symbols."""
    if text.isascii():
        return _ASCII_TOKENS.findall(text)
    patterns = _patterns()
    if patterns.rare.search(text):
        return _tokens_of_rare(text, patterns)
    return patterns.token.findall(unicodedata.normalize("NFC", text))


def is_unspaced_run(token: str) -> bool:
    """Whether `token`, one of `tokens`, is a run of a script that is written without spaces."""
    return _class_of(ord(token[0])) is _Class.UNSPACED


def _tokens_of_rare(text: str, patterns: _Patterns) -> list[str]:
    """`tokens` for text that may hold removed characters, joiners, or characters beyond the basic plane.

    Patterns know the basic plane only (one for all of Unicode is five times slower): beyond it, a character is
    represented by one of its class.
    """
    text = unicodedata.normalize("NFC", patterns.removed.sub("", text))
    stand_in = _ASTRAL.sub(_representative, text)
    rare = [text[found.start() : found.end()] for found in patterns.token.finditer(stand_in)]
    return [kept for token in rare if (kept := _joined(token))] if patterns.joiner.search(text) else rare


def _joined(token: str) -> str:
    """`token` with zero-width joiners only where they are spelling: inside a word."""
    token = token.strip(_JOINERS)
    if token and _class_of(ord(token[0])) in {_Class.UNSPACED, _Class.SYMBOL}:
        return unicodedata.normalize("NFC", _patterns().joiner.sub("", token))
    return token


class _Class(StrEnum):
    """What a character is to the tokens."""

    WORD = "word"
    UNSPACED = "unspaced"
    MARK = "mark"  # belongs to what stands before it
    SYMBOL = "symbol"
    BLANK = "blank"
    REMOVED = "removed"


_REPRESENTATIVES = {
    _Class.WORD: "a",
    _Class.UNSPACED: "\u4e00",
    _Class.MARK: "\u0301",
    _Class.SYMBOL: "!",
    _Class.BLANK: " ",
}

_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_JOINERS = "\u200c\u200d"

# Scripts written without spaces between words, whole blocks: `_class_of` takes out digits, marks and symbols.
_UNSPACED_BLOCKS = (
    range(0x0E00, 0x0F00),  # Thai, Lao
    range(0x0F00, 0x10A0),  # Tibetan, Myanmar
    range(0x1780, 0x1800),  # Khmer
    range(0x1950, 0x19E0),  # Tai Le, New Tai Lue
    range(0x1A20, 0x1AB0),  # Tai Tham
    range(0x3005, 0x3008),  # 々 〆 〇
    range(0x3021, 0x3030),  # Hangzhou numerals
    range(0x3031, 0x303D),  # repeat marks
    range(0x3041, 0x3130),  # Hiragana, Katakana, Bopomofo
    range(0x31A0, 0x31C0),  # Bopomofo
    range(0x31F0, 0x3200),  # Katakana
    range(0x3400, 0x4DC0),  # Han
    range(0x4E00, 0xA000),
    range(0xA9E0, 0xAA00),  # Myanmar
    range(0xAA60, 0xAAE0),  # Myanmar, Tai Viet
    range(0xF900, 0xFB00),  # Han, compatibility
    range(0xFF66, 0xFFA0),  # Katakana, half width
    range(0x16FE3, 0x16FE4),  # old iteration mark
    range(0x1AFF0, 0x1B170),  # kana, archaic
    range(0x20000, 0x40000),  # Han, extensions
)
_HAN_RADICALS = range(0x2E80, 0x2FE0)  # symbols to Unicode, but they are written for the character
_PICTOGRAPHS = range(0x1F000, 0x1FB00)
_VISIBLE_FORMATS = frozenset("\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_VARIATION_SELECTORS = frozenset(map(chr, [0x180B, 0x180C, 0x180D, 0x180F, *range(0xFE00, 0xFE10)]))
_TAGS_AND_SELECTORS = range(0xE0000, 0xE1000)  # of emoji flags, and of Han variants


@lru_cache(maxsize=4096)
def _class_of(code: int) -> _Class:  # noqa: PLR0911  a table reads best as one
    character = chr(code)
    category = unicodedata.category(character)
    if character in _VARIATION_SELECTORS or code in _TAGS_AND_SELECTORS:
        return _Class.REMOVED
    if category == "Cf":
        if character in _JOINERS:
            return _Class.MARK
        return _Class.SYMBOL if character in _VISIBLE_FORMATS else _Class.REMOVED
    if category in {"Zs", "Zl", "Zp", "Cc"}:
        return _Class.BLANK
    if category in {"Mn", "Mc", "Me"}:
        return _Class.MARK
    if category == "Nd":
        return _Class.WORD  # of any script: 5 is not found in 50
    if code in _HAN_RADICALS:
        return _Class.UNSPACED
    if category[0] in "PS" or category in {"Co", "Cs"} or (category == "Cn" and code in _PICTOGRAPHS):
        return _Class.SYMBOL  # private use is icon fonts, mostly
    return _Class.UNSPACED if any(code in block for block in _UNSPACED_BLOCKS) else _Class.WORD


def _representative(found: re.Match[str]) -> str:
    return _REPRESENTATIVES[_class_of(ord(found[0]))]


@dataclass(frozen=True, kw_only=True)
class _Patterns:
    token: re.Pattern[str]
    rare: re.Pattern[str]  # what `token` alone does not get right
    removed: re.Pattern[str]
    joiner: re.Pattern[str]


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    """Compiled once per process, on the first text that is not ASCII (0.1 s)."""
    ranges: dict[_Class, str] = dict.fromkeys(_Class, "")
    for name, codes in groupby(range(0x10000), _class_of.__wrapped__):
        first, *rest = codes
        ranges[name] += f"\\u{first:04x}-\\u{(rest or [first])[-1]:04x}"
    unspaced, symbol, mark, blank = (ranges[_Class(name)] for name in ("unspaced", "symbol", "mark", "blank"))
    removed = ranges[_Class.REMOVED]
    # Beyond the basic plane: controls of hieroglyphs, shorthand and music; tags and variation selectors.
    removed_astral = "\\U00013430-\\U0001343f\\U0001bca0-\\U0001bca3\\U0001d173-\\U0001d17a\\U000e0000-\\U000e0fff"
    return _Patterns(
        token=re.compile(f"[^{blank}{unspaced}{symbol}]+|[{unspaced}][{unspaced}{mark}]*|[{symbol}][{mark}]*"),
        rare=re.compile(f"[{removed}{_JOINERS}\\U00010000-\\U0010ffff]"),
        removed=re.compile(f"[{removed}{removed_astral}]+"),
        joiner=re.compile(f"[{_JOINERS}]+"),
    )


# The published reference's behaviour, character by character.
_PAPER_WRAPPED = re.compile(r"[,.;:?!`]")
_PAPER_BLANKS = str.maketrans("\t\n\r", "   ")
_PAPER_UNSPACED = (
    range(0x4E00, 0xA000),
    range(0x3400, 0x4DC0),
    range(0x20000, 0x2A6E0),
    range(0x2A700, 0x2B740),
    range(0x2B740, 0x2B820),
    range(0x2B820, 0x2CEB0),
    range(0xF900, 0xFB00),
    range(0x2E80, 0x2F00),
    range(0x2F00, 0x2FE0),
    range(0x2FF0, 0x3000),
    range(0x0E00, 0x0E80),
    range(0x0E80, 0x0F00),
    range(0x1000, 0x10A0),
    range(0x1780, 0x1800),
    range(0x0F00, 0x1000),
)
_PAPER_PUNCTUATION = frozenset(string.punctuation + "，。、；：？！“”‘’（）【】《》〈〉「」『』～—")


def _paper_caption(text: str) -> str:
    wrapped = _PAPER_WRAPPED.sub(r" \g<0> ", text.strip())
    return f" {wrapped} ".translate(_PAPER_BLANKS)


def _paper_entry(text: str) -> str:
    if not text.strip():
        return ""
    before, after = ("" if _joins_in_paper(character) else " " for character in (text[0], text[-1]))
    return before + text + after


def _joins_in_paper(character: str) -> bool:
    return character in _PAPER_PUNCTUATION or any(ord(character) in block for block in _PAPER_UNSPACED)
