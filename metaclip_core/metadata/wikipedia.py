"""From a file of Wikipedia, or of text extracted from one, to the phrases that n-grams are counted in.

What is lost on the way is counted in one funnel: streams → pages or lines → wikitext → words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import BinaryIO

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.compressed import Compression, read_chunks, split
from metaclip_core.metadata.dumpfiles import InputFile, InputKind
from metaclip_core.metadata.dumps import MAX_PAGE_BYTES, Slice, read_pages
from metaclip_core.metadata.segmentation import phrases
from metaclip_core.metadata.wikitext import WikitextDrop, plain_text

LINES = "lines"  # the stages of the funnel
WIKITEXT = "wikitext"


class LineDrop(StrEnum):
    """Why a line of extracted text is not read."""

    TOO_LARGE = "line_too_large"
    BROKEN_TEXT = "line_broken_text"  # bytes that are no UTF-8
    BROKEN_JSON = "line_broken_json"  # no JSON object with a string "text"


def read_phrases(
    file: BinaryIO,
    source: InputFile,
    part: Slice,
    *,
    language: str,
    funnel: Funnel,
    max_page_bytes: int = MAX_PAGE_BYTES,
) -> Iterator[list[str]]:
    """The phrases of `part` of `file`, which is `source`. Memory is bounded by a page, or a line.

    Args:
        file: can be read and sought.
        source: what it is, from `dumpfiles.find_inputs`.
        part: where to read, from `dumps.plan_slices`; `Slice(0, <the file's size>)` for all, and for a file of text.
        language: the metadata language, which says how words are found.
        funnel: gets the counts of what was read and dropped.
        max_page_bytes: of a page's XML, or of a line.

    Raises:
        OSError: the store failed.
    """
    if source.kind is InputKind.DUMP:
        texts = _article_texts(file, part, max_page_bytes=max_page_bytes, funnel=funnel)
    else:
        lines = _lines(file, part, source.compression, max_line_bytes=max_page_bytes, funnel=funnel)
        texts = _texts_of_json(lines, funnel) if source.kind is InputKind.JSON_LINES else lines
    for text in texts:
        yield from phrases(text, language, funnel=funnel)


def _article_texts(file: BinaryIO, part: Slice, *, max_page_bytes: int, funnel: Funnel) -> Iterator[str]:
    for page in read_pages(file, part, max_page_bytes=max_page_bytes, funnel=funnel):
        funnel.enter(WIKITEXT)
        text = plain_text(page.text)
        if isinstance(text, WikitextDrop):
            funnel.drop(WIKITEXT, text)
        else:
            yield text


def _lines(
    file: BinaryIO, part: Slice, compression: Compression, *, max_line_bytes: int, funnel: Funnel
) -> Iterator[str]:
    chunks = read_chunks(file, offset=part.offset, end=part.end, compression=compression, funnel=funnel)
    for piece in split(chunks, b"\n", max_bytes=max_line_bytes):
        funnel.enter(LINES)
        if piece.data is None:
            funnel.drop(LINES, LineDrop.TOO_LARGE)
            continue
        try:
            yield piece.data.decode()
        except UnicodeDecodeError:
            funnel.drop(LINES, LineDrop.BROKEN_TEXT)


def _texts_of_json(lines: Iterator[str], funnel: Funnel) -> Iterator[str]:
    """The `text` of WikiExtractor's objects; its lines are paragraphs."""
    for line in lines:
        try:
            document = json.loads(line) if line.strip() else {"text": ""}
        except (json.JSONDecodeError, RecursionError):
            document = None
        if isinstance(document, dict) and isinstance(text := document.get("text"), str):
            yield text
        else:
            funnel.drop(LINES, LineDrop.BROKEN_JSON)
