"""Wikitext → plain text: the running text of an article, for counting its words.

Gone are comments, references, templates, tables, formulas and other extension tags, files, categories, links to other
namespaces and wikis, magic words and addresses; the texts of links and headings stay, a paragraph or item a line.

What takes most of a page and shows no running text is cut first, in linear time and in MediaWiki's own order
(comments and extension tags, then templates, then tables), and mwparserfromhell sees only the lines that hold links.
That is several times faster than to give it the whole page, on which it also needs minutes where 100 kB of `<b>` or
`[http` are never closed. What it may still take long for is bounded by the number of brackets, before it is called.

A cut thing that shows something leaves CUT behind, a symbol to `metaclip_core.text`, so that the words around
`{{convert|5|km}}` are not neighbours. References and comments leave nothing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from enum import StrEnum

import mwparserfromhell
from mwparserfromhell.nodes import Text, Wikilink
from mwparserfromhell.parser import ParserError
from mwparserfromhell.wikicode import Wikicode

CUT = "\ufffc"  # object replacement character


class WikitextDrop(StrEnum):
    """Why the text of a page is not read."""

    UNPARSABLE = "wikitext_unparsable"  # more open brackets than the parser takes in some seconds, or it gave up


# The parser's worst time grows with the square of the brackets it sees at once.
MAX_SQUARED_BRACKETS = 20_000_000  # about 3 s
_MAX_LINK_LINES = 20  # of a link that goes over lines, as the caption of a picture may

# Extension tags whose content is no running text, or markup shown as such.
_SILENT = ("ref", "references", "templatestyles", "templatedata", "section", "indicator")
_SHOWN = (
    "math", "chem", "ce", "gallery", "timeline", "score", "hiero", "graph", "imagemap", "mapframe", "maplink",
    "syntaxhighlight", "source", "nowiki", "pre", "code", "inputbox", "categorytree", "style", "script",
)  # fmt: skip
_NAMES = "|".join((*_SILENT, *_SHOWN))
_OPENER = re.compile(rf"<!--|<({_NAMES})(?=[\s/>])[^<>]*>", re.IGNORECASE)
_CLOSER = re.compile(rf"-->|</({_NAMES})\s*>", re.IGNORECASE)
_COMMENT = ""  # its name

_BRACES = re.compile(r"\{\{|\}\}")
_TABLE_LINE = re.compile(r"[:*#;\s]*(\{\||\|\}|\|)")
_VARIANTS = re.compile(r"-\{([^{}]*)\}-")
_ADDRESS = re.compile(r"(?:https?:|ftp:)?//[^\s\[\]<>|]+")
_BREAK = re.compile(
    r"</?(?:br|p|div|li|ul|ol|dl|dd|dt|hr|center|blockquote|poem|h[1-6]|table|tr|td|th)\b[^<>]*>", re.IGNORECASE
)
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# Text by now, whatever it looks like; noncharacters, which no text has, keep it from the parser.
_LONE = re.compile(r"(?<!\[)\[(?!\[)|(?<!\])\](?!\])|[<>{}&]")
_HIDDEN = dict(zip("[]<>{}&", map(chr, range(0xFDD0, 0xFDF0)), strict=False))
_SHOWN_AGAIN = str.maketrans({hidden: shown for shown, hidden in _HIDDEN.items()})
_MAGIC_WORD = re.compile(r"__[^\W_]{2,40}(?:_[^\W_]{1,40}){0,8}__")
_WRITTEN_QUOTES = {2: 0, 3: 0, 4: 1}
_QUOTES = re.compile(r"'{2,}")
_NUMBER_ENTITY = re.compile(r"&#[xX]?[0-9a-fA-F]{9,};?")  # of no character, and too long for some readers
_LINE_MARKS = re.compile(r"^(?:[*#:;]+|=+)|=+[ \t]*$", re.MULTILINE)
# `File:`, `Datei:`, `:en:`; but `2001: A Space Odyssey` and `Mission: Impossible` are articles.
_OTHER_NAMESPACE = re.compile(r"\s*(?:(?:file|image|category)\s*:|[^\s:][^:]{0,60}:\S)", re.IGNORECASE)
_MEDIA_NAME = re.compile(
    r"\.(?:jpe?g|png|svg|gif|tiff?|webp|web[ma]|og[gva]|mp[34]|wav|flac|pdf|djvu|midi?|xcf|stl)\s*$", re.IGNORECASE
)


def plain_text(wikitext: str) -> str | WikitextDrop:
    """The running text of `wikitext`, a paragraph, heading or item a line; or why it was not read.

    Linear in time but for the links, whose lines are bounded: a page takes some seconds at worst.
    """
    text = _without_tables(_without_templates(_without_elements(wikitext)))
    text = _ADDRESS.sub(" ", _VARIANTS.sub(_variant, text))
    text = _TAG.sub("", _BREAK.sub("\n", text))
    text = _QUOTES.sub(_apostrophes, _MAGIC_WORD.sub(" ", text))
    squared_brackets = 0
    lines = []
    for line in _lines_with_whole_links(_LINE_MARKS.sub("", text)):
        if "[[" in line:
            squared_brackets += line.count("[[") ** 2
            if squared_brackets > MAX_SQUARED_BRACKETS:
                return WikitextDrop.UNPARSABLE
            try:
                code = mwparserfromhell.parse(_LONE.sub(_hidden, line), skip_style_tags=True)
            except ParserError:
                return WikitextDrop.UNPARSABLE
            lines.append(_visible(code).translate(_SHOWN_AGAIN))
        else:
            lines.append(line)
    return _unescaped("\n".join(lines))


def _without_elements(text: str) -> str:
    """Without comments and extension tags. One that is never closed is no element, but a comment ends with the page."""
    if "<" not in text:
        return text
    last_closer = {(found[1] or _COMMENT).lower(): found.start() for found in _CLOSER.finditer(text)}
    kept, position = [], 0
    while opener := _OPENER.search(text, position):
        name = (opener[1] or _COMMENT).lower()
        kept.append(text[position : opener.start()])
        position = opener.end()
        if name and opener[0].endswith("/>"):
            kept.append("" if name in _SILENT else CUT)
        elif last_closer.get(name, -1) >= position:
            position = next(
                found.end() for found in _CLOSER.finditer(text, position) if (found[1] or _COMMENT).lower() == name
            )
            kept.append("" if name in _SILENT or name == _COMMENT else CUT)
        elif name == _COMMENT:
            position = len(text)
    kept.append(text[position:])
    return "".join(kept)


def _without_templates(text: str) -> str:
    """Without `{{…}}`, nested ones too; braces without a partner go alone."""
    openers: list[int] = []  # how much of `kept` stands before each open template
    kept, position = [], 0
    for found in _BRACES.finditer(text):
        kept.append(text[position : found.start()])
        position = found.end()
        if found[0] == "{{":
            openers.append(len(kept))
        elif openers:
            del kept[openers.pop() :]
            kept.append(CUT)
    kept.append(text[position:])
    return "".join(kept)


def _without_tables(text: str) -> str:
    """Without `{|…|}`, nested ones too, and rows without a table. One that is never closed ends with the page."""
    if "|" not in text:
        return text
    kept: list[str] = []
    depth = 0
    for line in text.split("\n"):
        mark = found[1] if "|" in line and (found := _TABLE_LINE.match(line)) else ""
        if mark == "{|":
            depth += 1
        elif not depth and not mark:
            kept.append(line)
        elif mark == "|}" and depth:
            depth -= 1
            if not depth:
                kept.append(line.partition("|}")[2])
    return "\n".join(kept)


def _variant(found: re.Match[str]) -> str:
    """Of Chinese, what stays unconverted; a choice of variants is cut, for it is the same word twice."""
    return CUT if ":" in found[1] else found[1].rpartition("|")[2]


def _apostrophes(found: re.Match[str]) -> str:
    """Italics (2), bold (3) and both (5) go; what is more is written."""
    return "'" * _WRITTEN_QUOTES.get(len(found[0]), len(found[0]) - 5)


def _lines_with_whole_links(text: str) -> Iterator[str]:
    """Lines; those over which a link goes together."""
    held: list[str] = []
    depth = 0
    for line in text.split("\n"):
        held.append(line)
        depth += line.count("[[") - line.count("]]")
        if depth <= 0 or len(held) == _MAX_LINK_LINES:
            yield "\n".join(held)
            held, depth = [], 0
    if held:
        yield "\n".join(held)


def _hidden(found: re.Match[str]) -> str:
    return _HIDDEN[found[0]]


def _visible(code: Wikicode) -> str:
    parts = []
    for node in code.nodes:
        if isinstance(node, Text):
            parts.append(node.value)
        elif isinstance(node, Wikilink):
            parts.append(_link_text(node))
        else:  # an address, or a mark
            parts.append(node.__strip__(normalize=True) or "")
    return "".join(parts)


def _link_text(link: Wikilink) -> str:
    title = str(link.title)
    if _OTHER_NAMESPACE.match(title) or _MEDIA_NAME.search(title):
        return CUT
    return _visible(link.title if link.text is None else link.text)


def _unescaped(text: str) -> str:
    return html.unescape(_NUMBER_ENTITY.sub(" ", text)) if "&" in text else text
