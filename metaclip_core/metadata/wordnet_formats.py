"""The three file formats of WordNets, read as words: a label of a language, a text, and whether it leads its synset.

They are parsed plainly. NLTK's readers want a local folder with indexes and stop at the first bad line; `wn.lmf` wants
a local file, builds the whole tree in memory, and refuses a document for one bad element; importing either costs
seconds or loads a network client. All three formats say in one line or attribute what is needed here. Both libraries
are oracles instead: the tests and the counts in `wordnet` were checked with them.

XML is read with expat, which opens nothing outside the document; one that declares an entity is refused, so that none
can be expanded.
"""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from xml.parsers import expat

MAX_XML_BYTES = 2**30  # decompressed; the largest WordNets have half
_CHUNK_BYTES = 1 << 20
_PRINCETON = re.compile(r"data\.(?:noun|verb|adj|adv)")
_TAB = re.compile(r"wn-data-(?P<label>[\w-]+)\.tab")
_LMF = re.compile(r".+\.xml(?:\.gz|\.xz)?")
_SYNSET = re.compile(r"[0-9]{8} [0-9]{2} [nvasr] (?P<num_words>[0-9a-f]{2}) (?P<rest>.+)")
_LEX_ID = re.compile(r"[0-9a-f]")
_POSITION = re.compile(r"\((?:a|p|ip)\)$")
_COPYRIGHT = re.compile(r"^  \d+ (?P<line>.*\bCopyright\b.*)")
_TAB_FIELDS = 3
_HAN_SUFFIX = re.compile(r"\+(?=[的地]$)")  # Chinese Open WordNet sets off an adjective's or adverb's ending


class FileDrop(StrEnum):
    """Why a file of the folder was not read, or not to its end."""

    UNKNOWN = "wordnet_file_unknown"  # of none of the formats: a README, an index
    BROKEN = "wordnet_file_broken"  # what stands before the break is kept
    UNSAFE = "wordnet_file_unsafe"  # XML that declares entities


class LemmaDrop(StrEnum):
    """Why a word is not taken."""

    LINE_BROKEN = "lemma_line_broken"
    LANGUAGE_UNKNOWN = "lemma_language_unknown"
    BLANK = "lemma_blank"
    NOT_HEAD = "lemma_not_head"


@dataclass(frozen=True)
class Word:
    """A sense: one word of one synset."""

    label: str  # of the language, as the file has it
    text: str
    is_head: bool  # the first word of its synset


@dataclass
class FileNotes:
    """What a reader found beside words."""

    licences: set[str] = field(default_factory=set)
    file_drops: list[FileDrop] = field(default_factory=list)
    broken_lines: int = 0


Reader = Callable[[str, bytes, FileNotes], Iterator[Word]]


def reader_of(name: str) -> Reader | None:
    """The reader of a file of this name: (name, content, notes) → words. None for one of another kind."""
    for pattern, reader in ((_PRINCETON, princeton_words), (_TAB, tab_words), (_LMF, lmf_words)):
        if pattern.fullmatch(name):
            return reader
    return None


def princeton_words(_name: str, content: bytes, notes: FileNotes) -> Iterator[Word]:
    """The words of a `data.*` file (wndb(5WN)), in their true case. English."""
    for line in _lines(content, notes):
        if line.startswith("  "):  # the licence, with numbered lines
            if found := _COPYRIGHT.match(line):
                notes.licences.add(found["line"].strip())
            continue
        words = _words_of_synset(line)
        notes.broken_lines += not words
        for place, word in enumerate(words):
            yield Word("eng", _POSITION.sub("", word), is_head=place == 0)


def _words_of_synset(line: str) -> list[str]:
    """The words of a line of a `data.*` file; none if it is broken."""
    found = _SYNSET.match(line)
    if not found:
        return []
    num_words = int(found["num_words"], 16)
    words_and_ids = found["rest"].split(" ")[: 2 * num_words]
    is_whole = len(words_and_ids) == 2 * num_words and all(map(_LEX_ID.fullmatch, words_and_ids[1::2]))
    return words_and_ids[::2] if is_whole else []


def tab_words(name: str, content: bytes, notes: FileNotes) -> Iterator[Word]:
    """The lemmas of a tab file; definitions, examples and other forms are left out.

    The language is the line's, or else the header's, or else the file name's.
    """
    found = _TAB.fullmatch(name)
    label = found["label"] if found else ""
    seen: set[tuple[str, str]] = set()
    for line in _lines(content, notes):
        if line.startswith("#"):
            _, own_label, _, licence = [part.strip() for part in (line + 3 * "\t").split("\t")[:4]]
            label = own_label or label
            notes.licences |= {licence} - {""}
            continue
        fields = line.split("\t")
        if len(fields) < _TAB_FIELDS:
            notes.broken_lines += 1
            continue
        *of_line, kind = fields[1].split(":")  # als:lemma, als:def, arb:lemma:root
        if kind == "lemma":
            synset = (of_line[0] if of_line else label, fields[0])
            yield Word(synset[0], _HAN_SUFFIX.sub("", fields[2].strip()), is_head=synset not in seen)
            seen.add(synset)


def lmf_words(name: str, content: bytes, notes: FileNotes) -> Iterator[Word]:
    """The lemmas of all lexicons of a document, one word for each of their senses, or one if they have none.

    The first word of a synset is the first of its `members`, where it has them, and else of the document.
    """
    document = _Document(notes)
    parser = expat.ParserCreate(encoding="utf-8")  # as WN-LMF is, whatever a document declares
    parser.StartElementHandler = document.start
    parser.EntityDeclHandler = _refuse
    try:
        for chunk in _decompressed(name, content):
            parser.Parse(chunk, False)  # noqa: FBT003  expat's
        parser.Parse(b"", True)  # noqa: FBT003
    except _UnsafeError:
        notes.file_drops.append(FileDrop.UNSAFE)
        return
    except (expat.ExpatError, EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error):
        notes.file_drops.append(FileDrop.BROKEN)
    else:
        notes.file_drops += [] if document.is_lmf else [FileDrop.UNKNOWN]
    for lexicon in document.lexicons:
        yield from lexicon.words()


class _UnsafeError(Exception):
    """The document declares an entity."""


def _refuse(*_declaration: object) -> None:
    raise _UnsafeError


class _Lexicon:
    def __init__(self, label: str) -> None:
        self.label = label
        self.senses: list[tuple[str | None, str]] = []  # synset, lemma
        self.lemma_of: dict[str, str] = {}  # id of an entry or of a sense → lemma
        self.head_of: dict[str, str] = {}  # synset → id

    def words(self) -> Iterator[Word]:
        heads = {synset: self.lemma_of.get(member) for synset, member in self.head_of.items()}
        found: set[str] = set()
        for synset, lemma in self.senses:
            if synset is None:
                yield Word(self.label, lemma, is_head=False)
                continue
            is_head = synset not in found and (heads.get(synset) or lemma) == lemma
            found |= {synset} if is_head else set()
            yield Word(self.label, lemma, is_head=is_head)


class _Document:
    """Takes from each element what it needs; nothing of the tree is kept."""

    def __init__(self, notes: FileNotes) -> None:
        self.is_lmf = False
        self.lexicons: list[_Lexicon] = []
        self._notes = notes
        self._entry = ""
        self._lemma: str | None = None

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.is_lmf |= name == "LexicalResource"
        if name in {"Lexicon", "LexiconExtension"}:
            self.lexicons.append(_Lexicon(attributes.get("language", "")))
            self._notes.licences |= {attributes.get("license", "").strip()} - {""}
        if not self.lexicons:
            return
        lexicon = self.lexicons[-1]
        if name in {"LexicalEntry", "ExternalLexicalEntry"}:
            self._entry, self._lemma = attributes.get("id", ""), None
        elif name == "Lemma":
            self._lemma = attributes.get("writtenForm", "")
            lexicon.lemma_of[self._entry] = self._lemma
            lexicon.senses.append((None, self._lemma))
        elif name == "Sense":
            self._sense(lexicon, attributes)
        elif name == "Synset" and (members := attributes.get("members", "").split()):
            lexicon.head_of[attributes.get("id", "")] = members[0]

    def _sense(self, lexicon: _Lexicon, attributes: dict[str, str]) -> None:
        if self._lemma is None or "synset" not in attributes:  # an extension's sense of a word of another lexicon
            self._notes.broken_lines += self._lemma is not None
            return
        lexicon.lemma_of[attributes.get("id", "")] = self._lemma
        if lexicon.senses[-1] == (None, self._lemma):
            lexicon.senses.pop()
        lexicon.senses.append((attributes["synset"], self._lemma))


def _decompressed(name: str, content: bytes) -> Iterator[bytes]:
    with _opened(name, io.BytesIO(content)) as stream:
        for _ in range(0, MAX_XML_BYTES, _CHUNK_BYTES):
            chunk = stream.read1(_CHUNK_BYTES)
            if not chunk:
                return
            yield chunk
    raise EOFError(f"more than {MAX_XML_BYTES} bytes")


def _opened(name: str, stream: io.BytesIO) -> io.BytesIO | gzip.GzipFile | lzma.LZMAFile:
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=stream)
    return lzma.LZMAFile(stream) if name.endswith(".xz") else stream


def _lines(content: bytes, notes: FileNotes) -> Iterator[str]:
    for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n"):
        if not line.strip():
            continue
        try:
            yield line.removesuffix(b"\r").decode()
        except UnicodeDecodeError:
            notes.broken_lines += 1
