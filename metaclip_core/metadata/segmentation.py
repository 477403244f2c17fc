"""The words of a text, in phrases: words that are neighbours, so that captions have their bigram where the text has it.

Words are made of the tokens of `metaclip_core.text`, so each is found in the normalised form of its text; case is kept:

- In a language written with spaces a word is a token, or tokens around an apostrophe or a mark that stands for one
  within a word (`don't`, `п'ять`, `col·laborar`, צה״ל). A run of Han in an English text is one word: nobody says in
  which language it is.
- In a language written without, an unspaced run is cut by ICU, which has dictionaries for Chinese, Japanese, Thai, Lao,
  Khmer and Burmese. The others in Burmese letters (blk, mnw, rki, shn) are cut by the dictionary of Burmese, which is a
  guess; tdd is not cut.
- Tibetan and Dzongkha (bo, dz) put a mark, the tsheg, between syllables: their words here are syllables.

A word has a letter, and begins with one or a digit: numbers are none, nor is punctuation. Both part phrases, as
the ends of lines do; commas too, for no caption has `Paris France` where it says `Paris, France`. What is longer than
an entry may be is dropped and counted. In unspaced languages a blank parts a phrase, so the words `iPhone` and `X` of
`iPhone X 发布` are no bigram, which would be joined without one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import StrEnum

from icu4py.breakers import WordBreaker

from metaclip_core.funnel import Funnel
from metaclip_core.languages import is_unspaced
from metaclip_core.metadata.importing import MAX_ENTRY_CHARS
from metaclip_core.text import is_unspaced_run, tokens

WORDS = "words"  # the stage of the funnel


class WordDrop(StrEnum):
    """Why a word is not counted."""

    OVER_LIMIT = "word_over_limit"


_SYLLABIC_LANGUAGES = frozenset({"bo", "dz"})
_TSHEG = "\u0f0b"

# Marks within a word. Noncharacters, which are letters to `tokens` and which no text has, hold their places.
_INNER = re.compile(r"(?<=[^\W\d_])['’·״׳](?=[^\W\d_])")
_HELD = dict(zip("'’·״׳", map(chr, range(0xFDD0, 0xFDF0)), strict=False))
_WRITTEN = str.maketrans({held: mark for mark, held in _HELD.items()})
_ANY_HELD = re.compile("[\ufdd0-\ufdef]")


def separator(language: str) -> str:
    """What stands between the words of a bigram of `language`."""
    if language in _SYLLABIC_LANGUAGES:
        return _TSHEG
    return "" if is_unspaced(language) else " "


def words(text: str, language: str) -> list[str]:
    """The words of `text`, in order; see `phrases`."""
    return [word for phrase in phrases(text, language) for word in phrase]


def phrases(text: str, language: str, *, funnel: Funnel | None = None) -> Iterator[list[str]]:
    """The words of `text`, those together that are neighbours: any two, joined by `separator`, occur in the text.

    Args:
        text: any; its lines are apart.
        language: a metadata language.
        funnel: gets the words (stage WORDS) and those that are too long.
    """
    if language in _SYLLABIC_LANGUAGES:
        found = _of_syllables(text)
    elif is_unspaced(language):
        found = _of_runs(text, language)
    else:
        found = _of_tokens(text)
    return _within_limit(found, Funnel() if funnel is None else funnel)


def _within_limit(found: Iterable[list[str]], funnel: Funnel) -> Iterator[list[str]]:
    for phrase in found:
        funnel.enter(WORDS, len(phrase))
        if max(map(len, phrase), default=0) <= MAX_ENTRY_CHARS:
            yield phrase
        else:
            kept = [[word for word in part if len(word) <= MAX_ENTRY_CHARS] for part in _parted(phrase)]
            funnel.drop(WORDS, WordDrop.OVER_LIMIT, len(phrase) - sum(map(len, kept)))
            yield from filter(None, kept)


def _parted(phrase: list[str]) -> Iterator[list[str]]:
    """`phrase`, parted behind each word that is too long."""
    part: list[str] = []
    for word in phrase:
        part.append(word)
        if len(word) > MAX_ENTRY_CHARS:
            yield part
            part = []
    yield part


def _of_tokens(text: str) -> Iterator[list[str]]:
    for line in _lines(text):
        phrase: list[str] = []
        for token in line:
            if _is_word(token):
                phrase.append(token)
            elif phrase:
                yield _written(phrase)
                phrase = []
        if phrase:
            yield _written(phrase)


def _of_syllables(text: str) -> Iterator[list[str]]:
    """Syllables with one tsheg between; whatever else stands there parts them."""
    for line in _lines(text):
        phrase: list[str] = []
        is_joined = False  # whether a tsheg follows the last syllable
        for token in line:
            if phrase and not is_joined and token == _TSHEG:
                is_joined = True
                continue
            if phrase and not (is_joined and _is_word(token)):
                yield _written(phrase)
                phrase = []
            if _is_word(token):
                phrase.append(token)
            is_joined = False
        if phrase:
            yield _written(phrase)


def _of_runs(text: str, language: str) -> Iterator[list[str]]:
    """Pieces of runs, and words beside them; two runs, or two words, have a blank between, which parts them."""
    lines = list(_lines(text))
    pieces = _cut([token for line in lines for token in line if is_unspaced_run(token)], language)
    for line in lines:
        phrase: list[str] = []
        was_run = False
        for token in line:
            is_run = is_unspaced_run(token)
            if phrase and (is_run == was_run or not (is_run or _is_word(token))):
                yield _written(phrase)
                phrase = []
            if is_run:
                phrase += next(pieces)
            elif _is_word(token):
                phrase.append(token)
            was_run = is_run
        if phrase:
            yield _written(phrase)


def _cut(runs: list[str], language: str) -> Iterator[list[str]]:
    """The words of each run. All in one go: to call ICU for each takes longer than it works."""
    pieces: list[str] = []
    for piece in WordBreaker("".join(f"{run}\n" for run in runs), language):
        if piece == "\n":
            yield pieces
            pieces = []
        elif pieces and not is_unspaced_run(piece):
            pieces[-1] += piece  # a mark, which belongs to what stands before it
        else:
            pieces.append(piece)


def _lines(text: str) -> Iterator[list[str]]:
    """The tokens of each line, with held marks in them."""
    if _ANY_HELD.search(text):
        text = _ANY_HELD.sub(" ", text)
    for line in text.splitlines():
        yield tokens(_INNER.sub(_hold, line))


def _hold(found: re.Match[str]) -> str:
    return _HELD[found[0]]


def _is_word(token: str) -> bool:
    return token[0].isalpha() or (token[0].isalnum() and any(map(str.isalpha, token)))


def _written(phrase: list[str]) -> list[str]:
    """`phrase` with the marks that were held."""
    return [word if word.isascii() else word.translate(_WRITTEN) for word in phrase]
