r"""Lines of an hourly file of page views, read many at a time: `domain title views bytes`.

An hour has some six million lines; taken one by one they cost three times as much. So a block of whole lines stays one
buffer: NumPy finds where the fields are, and Arrow takes the fields of wanted lines out of it.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_to_bytes

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.funnel import Funnel
from metaclip_core.languages import Namespace, is_label, metadata_language

VIEWS = pa.schema([("language", pa.string()), ("title", pa.string()), ("views", pa.int64())])
LINES_STAGE = "page view lines"
MAX_LINE_BYTES = 1 << 16
MAX_TITLE_BYTES = 3 * 255  # MediaWiki's limit, percent-encoded
MAX_VIEWS_DIGITS = 9  # in an hour; all Wikipedias together have 8

_DOMAIN = re.compile(rb"(?P<wikipedia>[a-z][a-z0-9-]{0,40})(?:\.m|\.zero)?")
_NUM_BLANKS = 3
_NEWLINE, _BLANK, _ZERO, _COLON, _PERCENT = b"\n 0:%"

Positions = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class LineDrop(StrEnum):
    """Why a line does not count: the first that holds."""

    LINE_OVER_LIMIT = "views_line_over_limit"
    FIELDS = "views_fields"  # not four
    DOMAIN = "views_domain"  # of another project, or of none
    NUMBER = "views_number"  # no number, or an impossible one
    COLON = "views_colon"
    TITLE_OVER_LIMIT = "views_title_over_limit"
    TITLE_ENCODING = "views_title_encoding"


def views_of_lines(lines: bytes, funnel: Funnel) -> pa.Table:
    """The views of Wikipedias' titles, VIEWS, a row for each line that counts, in order.

    Args:
        lines: whole ones, each with its newline; less than 2 GiB.
        funnel: gets the counts, in a stage LINES_STAGE (`LineDrop`).
    """
    data = np.frombuffer(lines, np.uint8)
    ends = np.flatnonzero(data == _NEWLINE)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    funnel.enter(LINES_STAGE, len(ends))
    blanks = np.flatnonzero(data == _BLANK)
    first = np.searchsorted(blanks, starts)
    is_short = ends - starts <= MAX_LINE_BYTES
    is_whole = np.searchsorted(blanks, ends) - first == _NUM_BLANKS
    _drop(is_short, LineDrop.LINE_OVER_LIMIT, funnel)
    _drop(is_whole[is_short], LineDrop.FIELDS, funnel)
    starts, first = starts[is_short & is_whole], first[is_short & is_whole]

    languages = _languages(_spans(lines, starts, blanks[first]))
    is_known = _mask(pc.is_valid(languages))
    _drop(is_known, LineDrop.DOMAIN, funnel)
    languages, first = languages.filter(is_known), first[is_known]

    views, is_number = _numbers(data, blanks[first + 1] + 1, blanks[first + 2])
    starts, ends = blanks[first] + 1, blanks[first + 1]
    titles = _spans(lines.replace(b"_", b" "), starts, ends)
    is_percent = _holds(data, _PERCENT, starts, ends)
    table = pa.table({"language": languages, "encoded": titles, "views": views, "is_percent": is_percent})
    has_no_colon = ~_holds(data, _COLON, starts, ends)
    is_short = (ends > starts) & (ends - starts <= MAX_TITLE_BYTES)
    is_good = _drop(is_number, LineDrop.NUMBER, funnel)
    for condition, reason in ((has_no_colon, LineDrop.COLON), (is_short, LineDrop.TITLE_OVER_LIMIT)):
        _drop(condition[is_good], reason, funnel)
        is_good = is_good & condition
    table = table.filter(is_good)
    is_text = _is_utf8(table["encoded"])
    _drop(is_text, LineDrop.TITLE_ENCODING, funnel)
    table = table.filter(is_text)
    titles = _titles(table["encoded"].combine_chunks(), table["is_percent"].combine_chunks())
    return pa.table([table["language"], titles, table["views"]], schema=VIEWS)


@lru_cache(maxsize=4096)
def language_of_domain(domain: bytes) -> str | None:
    """The metadata language of a Wikipedia's domain; None for what is none."""
    found = _DOMAIN.fullmatch(domain)
    if not found or not is_label(code := found["wikipedia"].decode(), namespace=Namespace.WIKIPEDIA):
        return None
    return metadata_language(code, namespace=Namespace.WIKIPEDIA)


def title_of(encoded: bytes) -> str:
    """A title as people read it: blanks for underscores, percent-encoding undone where that gives UTF-8.

    Raises:
        UnicodeDecodeError: it is no UTF-8.
    """
    try:
        return unquote_to_bytes(encoded).decode().replace("_", " ")
    except UnicodeDecodeError:
        return encoded.decode().replace("_", " ")


def _drop(is_good: Mask, reason: LineDrop, funnel: Funnel) -> Mask:
    funnel.drop(LINES_STAGE, reason, int(len(is_good) - is_good.sum()))
    return is_good


def _spans(lines: bytes, starts: Positions, ends: Positions) -> pa.BinaryArray:
    """The bytes between `starts` and `ends`, which ascend, without a copy of what lies between them."""
    offsets = np.zeros(2 * len(starts) + 1, np.int32)
    offsets[0:-1:2], offsets[1::2] = starts, ends
    offsets[-1] = offsets[-2] if len(starts) else 0
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(lines)]
    spans_and_gaps = pa.BinaryArray.from_buffers(pa.binary(), len(offsets) - 1, buffers)
    return spans_and_gaps.take(pa.array(np.arange(0, len(offsets) - 1, 2)))


def _languages(domains: pa.BinaryArray) -> pa.StringArray:
    """The metadata language of each domain; null for none. A domain stands in many lines: it is looked up once."""
    encoded = domains.dictionary_encode()
    languages = [language_of_domain(domain) for domain in encoded.dictionary.to_pylist()]
    return pa.array(languages, pa.string()).take(encoded.indices)


def _numbers(data: npt.NDArray[np.uint8], starts: Positions, ends: Positions) -> tuple[Positions, Mask]:
    """The numbers between `starts` and `ends`, and which of them are some: 1 to MAX_VIEWS_DIGITS digits."""
    num_digits = ends - starts
    numbers = np.zeros(len(starts), np.int64)
    is_number = (num_digits > 0) & (num_digits <= MAX_VIEWS_DIGITS)
    for place in range(MAX_VIEWS_DIGITS):
        is_there = num_digits > place
        digits = np.where(is_there, data[np.maximum(ends - 1 - place, 0)] - np.uint8(_ZERO), 0)  # wraps below zero
        is_number &= digits < 10  # noqa: PLR2004  decimal
        numbers += digits.astype(np.int64) * 10**place
    return numbers, is_number


def _is_utf8(texts: pa.ChunkedArray) -> Mask:
    try:
        texts.cast(pa.string())
    except pa.ArrowInvalid:  # some are not
        return np.array([_decodes(text) for text in texts.to_pylist()], np.bool_)
    return np.ones(len(texts), np.bool_)


def _decodes(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _titles(encoded: pa.BinaryArray, is_percent: pa.BooleanArray) -> pa.StringArray:
    """`title_of` of each. Underscores are blanks already, and only those with a `%` have more to undo."""
    decoded = [title_of(title) for title in encoded.filter(is_percent).to_pylist()]
    return pc.replace_with_mask(encoded.cast(pa.string()), is_percent, pa.array(decoded, pa.string()))


def _holds(data: npt.NDArray[np.uint8], byte: int, starts: Positions, ends: Positions) -> Mask:
    """Whether the byte occurs between `starts` and `ends`."""
    places = np.flatnonzero(data == byte)
    holds: Mask = np.searchsorted(places, starts) < np.searchsorted(places, ends)
    return holds


def _mask(array: Any) -> Any:  # noqa: ANN401  Arrow to NumPy
    return array.to_numpy(zero_copy_only=False)
