"""A Wikimedia dump as a stream of articles, in memory for one page; and its slices, which are read apart.

A dump is `<mediawiki>`, `<siteinfo>`, and one `<page>` after another. Pages are found by their tags, for in XML no text
can hold `</page>`, and each is parsed alone. So a slice, a whole file and a part of one are read alike, broken XML
costs one page and not the rest of the file, and no entity can be declared: a document type stands before the root,
and that part is never parsed. What the header says is not needed.

(mwxml, the library for dumps, parses a file as one document: it reads no slice, stops at the first error, holds a page
of any size, and takes twice as long; see `tests/benchmarks/wikipedia.py`.)

A multistream dump's index has a line `offset:page id:title` for each page; 100 pages share a bz2 stream, at `offset`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO
from xml.etree import ElementTree as ET

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.compressed import Piece, read_chunks, split

PAGES = "pages"  # the stages of the funnel
INDEX = "index"

MAX_PAGE_BYTES = 8 << 20  # of XML; MediaWiki takes 2 MiB of text, which `&quot;` for `"` makes longer
_MAX_INDEX_LINE_BYTES = 1 << 16
_MAX_OFFSET_DIGITS = 18
_ARTICLE = "0"  # the namespace
_BEGIN, _END = b"<page>", b"</page>"
# XML allows no control characters, and MediaWiki writes none: one in a page is no reason to lose it.
_WITHOUT_CONTROLS = bytes(byte if byte >= ord(" ") or byte in b"\t\n\r" else ord(" ") for byte in range(256))


class PageDrop(StrEnum):
    """Why a page, or a line of an index, is not read."""

    REDIRECT = "redirect"
    OTHER_NAMESPACE = "other_namespace"
    TOO_LARGE = "page_too_large"
    BROKEN = "page_broken"  # XML that does not parse, or not of a page
    TRUNCATED = "page_truncated"  # begun and not ended, or ended and not begun: at a break, or at the end
    INDEX_LINE_BROKEN = "index_line_broken"


@dataclass(frozen=True)
class Page:
    """An article."""

    title: str
    text: str  # wikitext, of its first revision


@dataclass(frozen=True)
class Slice:
    """Bytes of a dump that are read alone: whole bz2 streams, but for a damaged dump."""

    offset: int
    end: int


def read_pages(file: BinaryIO, part: Slice, *, funnel: Funnel, max_page_bytes: int = MAX_PAGE_BYTES) -> Iterator[Page]:
    """The articles of `part` of a `.xml.bz2` dump: of the main namespace, no redirects.

    Args:
        file: the dump, which can be sought.
        part: where to read; `Slice(0, <the file's size>)` is all.
        funnel: gets bz2 streams (stage `compressed.STREAMS`) and pages (stage PAGES), with what was dropped and why.
        max_page_bytes: of a page's XML; a larger one is dropped without being held.

    Raises:
        OSError: the store failed.
    """
    chunks = read_chunks(file, offset=part.offset, end=part.end, funnel=funnel)
    for piece in split(chunks, _END, max_bytes=max_page_bytes):
        xml = _source(piece, funnel)
        page = _parsed(xml) if xml is not None else None
        if isinstance(page, PageDrop):
            funnel.drop(PAGES, page)
        elif page is not None:
            yield page


def plan_slices(
    index: BinaryIO, *, index_bytes: int, dump_bytes: int, slice_bytes: int, funnel: Funnel
) -> Iterator[Slice]:
    """Slices of at least `slice_bytes` (the last one may be smaller), which together are the whole dump.

    The index is streamed, never held. Where it is damaged, slices are larger.

    Args:
        index: the `-multistream-index.txt.bz2`.
        index_bytes: its size.
        dump_bytes: the size of the dump it belongs to.
        slice_bytes: compressed; a stream of 100 pages takes a few hundred thousand.
        funnel: gets the index's lines in the stage INDEX.

    Raises:
        OSError: the store failed.
    """
    begin = 0
    for offset in _stream_offsets(index, index_bytes=index_bytes, funnel=funnel):
        if begin + slice_bytes <= offset < dump_bytes:
            yield Slice(begin, offset)
            begin = offset
    if begin < dump_bytes:
        yield Slice(begin, dump_bytes)


def _source(piece: Piece, funnel: Funnel) -> bytes | None:
    """What stands between `<page>` and `</page>`, counted as it arrives; None where one of them is missing."""
    if piece.data is None:
        funnel.enter(PAGES)
        funnel.drop(PAGES, PageDrop.TOO_LARGE)
        return None
    _, *begun = piece.data.split(_BEGIN)
    num_pages = max(len(begun), piece.is_ended)
    funnel.enter(PAGES, num_pages)
    is_whole = bool(begun) and piece.is_ended
    funnel.drop(PAGES, PageDrop.TRUNCATED, num_pages - is_whole)
    return begun[-1] if is_whole else None


def _parsed(xml: bytes) -> Page | PageDrop:
    try:
        page = ET.fromstring(_BEGIN + xml.translate(_WITHOUT_CONTROLS) + _END)  # noqa: S314  declares no entity: see above
    except ET.ParseError:
        return PageDrop.BROKEN
    namespace, title, text = (page.findtext(path) for path in ("ns", "title", "revision/text"))
    if namespace is None or title is None or text is None:
        return PageDrop.BROKEN
    if namespace != _ARTICLE:
        return PageDrop.OTHER_NAMESPACE
    return Page(title, text) if page.find("redirect") is None else PageDrop.REDIRECT


def _stream_offsets(index: BinaryIO, *, index_bytes: int, funnel: Funnel) -> Iterator[int]:
    """Offsets of streams as the index gives them, ascending, each often."""
    highest = 0
    for line in split(read_chunks(index, end=index_bytes, funnel=Funnel()), b"\n", max_bytes=_MAX_INDEX_LINE_BYTES):
        funnel.enter(INDEX)
        digits, separator, _ = (line.data or b"").partition(b":")
        offset = int(digits) if separator and digits.isdigit() and len(digits) <= _MAX_OFFSET_DIGITS else -1
        if offset < highest:
            funnel.drop(INDEX, PageDrop.INDEX_LINE_BROKEN)
        else:
            highest = offset
            yield offset
