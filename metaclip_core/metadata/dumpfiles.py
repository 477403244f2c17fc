"""Which files of a folder are to be read for which Wikipedia, by their names alone.

Wikimedia publishes the articles of a Wikipedia up to four times: whole or in parts, as one bz2 stream or as many
(multistream, with an index). One of them is read, never two. Text that others extracted is a source as well:

    enwiki-20240501-pages-articles-multistream.xml.bz2         the best: the index cuts it into slices
    enwiki-20240501-pages-articles-multistream1.xml-p1p41242.bz2
    enwiki-20240501-pages-articles1.xml-p1p41242.bz2
    enwiki-20240501-pages-articles.xml.bz2
    en.txt   en.txt.gz   enwiki-1.txt.bz2                      UTF-8, a document or paragraph a line
    en.jsonl   enwiki-1.json.gz                                lines of WikiExtractor's `--json`

Only Wikipedias are taken, by the codes of `languages`: no wiktionary, no `commonswiki`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from metaclip_core.funnel import Funnel
from metaclip_core.languages import Namespace, is_label
from metaclip_core.metadata.compressed import Compression

FILES_STAGE = "wikipedia files"  # of the funnel


class FileDrop(StrEnum):
    """Why a file of the folder is not read."""

    UNKNOWN = "wikipedia_file_unknown"  # no Wikipedia's, or no articles
    OTHER_EDITION = "wikipedia_file_other_edition"  # a better one of the same dump is read
    LANGUAGE_UNWANTED = "wikipedia_file_language_unwanted"


class InputKind(StrEnum):
    """What a file holds."""

    DUMP = "dump"
    TEXT = "text"
    JSON_LINES = "json_lines"


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file to read."""

    name: str
    wiki: str  # the Wikipedia's code, as `zh_yue`; its language is `metadata_language(wiki, namespace="wikipedia")`
    kind: InputKind
    compression: Compression
    index: str | None  # the file of the folder that gives the streams of a multistream dump


_DUMP = re.compile(
    r"(?P<wiki>[a-z][a-z0-9_]*)wiki-(?P<date>[0-9]{8}|latest)-pages-articles"
    r"(?P<multistream>-multistream)?(?P<part>[0-9]*\.xml(?:-p[0-9]+p[0-9]+)?)\.bz2"
)
_TEXT = re.compile(
    r"(?P<wiki>[a-z][a-z0-9_]*?)(?:wiki(?:-[^/]*)?)?\.(?P<suffix>txt|json|jsonl)(?:\.(?P<packed>gz|bz2))?"
)
_INDEX = re.compile(r"-multistream-index[0-9]*\.txt")
_KINDS = {"txt": InputKind.TEXT, "json": InputKind.JSON_LINES, "jsonl": InputKind.JSON_LINES}
_COMPRESSIONS = {None: Compression.NONE, "gz": Compression.GZIP, "bz2": Compression.BZ2}


@dataclass(frozen=True)
class _Edition:
    """Of several for a Wikipedia, the one of the lowest rank is read; they must be of one date."""

    date: str
    rank: int


def find_inputs(names: Iterable[str], *, funnel: Funnel) -> list[InputFile]:
    """The files to read, in order of their names, of a folder that holds `names`.

    Whole before parts, and multistream before one stream. The funnel gets all files in a stage FILES_STAGE, and those
    that are not read; the index of one that is counts as read.

    Raises:
        ValueError: a Wikipedia is there from two dates, or as a dump and as text: which one is meant?
    """
    known = frozenset(names)
    found: dict[str, list[tuple[_Edition, InputFile]]] = defaultdict(list)
    for name in sorted(known):
        if match := _DUMP.fullmatch(name):
            found[match["wiki"]].append((_edition(match), _dump(name, match, known)))
        elif (match := _TEXT.fullmatch(name)) and not _INDEX.search(name):
            found[match["wiki"]].append((_Edition(date="text", rank=0), _text(name, match)))
    wikipedias = {wiki: files for wiki, files in found.items() if is_label(wiki, namespace=Namespace.WIKIPEDIA)}
    chosen = sorted(
        (file for wiki, files in wikipedias.items() for file in _one(wiki, files)), key=lambda file: file.name
    )
    num_known = len(_with_indexes(file for files in wikipedias.values() for _, file in files))
    funnel.enter(FILES_STAGE, len(known))
    funnel.drop(FILES_STAGE, FileDrop.UNKNOWN, len(known) - num_known)
    funnel.drop(FILES_STAGE, FileDrop.OTHER_EDITION, num_known - len(_with_indexes(chosen)))
    return chosen


def _with_indexes(files: Iterable[InputFile]) -> set[str]:
    return {name for file in files for name in (file.name, file.index) if name is not None}


def _dump(name: str, match: re.Match[str], known: frozenset[str]) -> InputFile:
    index = name.replace("-multistream", "-multistream-index").replace(".xml", ".txt")
    is_indexed = match["multistream"] is not None and index in known
    return InputFile(
        name=name,
        wiki=match["wiki"],
        kind=InputKind.DUMP,
        compression=Compression.BZ2,
        index=index if is_indexed else None,
    )


def _text(name: str, match: re.Match[str]) -> InputFile:
    kind, compression = _KINDS[match["suffix"]], _COMPRESSIONS[match["packed"]]
    return InputFile(name=name, wiki=match["wiki"], kind=kind, compression=compression, index=None)


def _edition(match: re.Match[str]) -> _Edition:
    in_parts, in_one_stream = match["part"] != ".xml", match["multistream"] is None
    return _Edition(date=match["date"], rank=2 * in_parts + in_one_stream)


def _one(wiki: str, files: list[tuple[_Edition, InputFile]]) -> list[InputFile]:
    dates = sorted({edition.date for edition, _ in files})
    if len(dates) > 1:
        raise ValueError(f"{wiki}: expected one dump, or text, found {' and '.join(dates)}: leave one in the folder")
    best = min(edition.rank for edition, _ in files)
    return [file for edition, file in files if edition.rank == best]
