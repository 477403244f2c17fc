"""Lemmas of WordNets, by metadata language, from a folder that someone has brought along.

Three formats, told by a file's name, in any mix and at any depth of the folder; `wordnet_formats` reads them:

    data.noun data.verb data.adj data.adv      Princeton's dictionary: English
    wn-data-<language>.tab                     Open Multilingual WordNet
    *.xml *.xml.gz *.xml.xz                    WN-LMF, several lexicons in a file

Nothing is ever downloaded. A lemma's score is the number of its senses, added up over files that have the language.

Counts of WordNet 3.0 (3.1), English: 148,730 (148,897) lemmas in true case; 87,379 (87,455) of them are the first of
a synset. MetaCLIP v1's 86,654 are the latter of 3.0 in lower case and cut at the first dot (86,554), and the numbers
0 to 99. Here the case stays, for matching knows it, and so does what follows a dot.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.languages import Namespace, is_label, metadata_language
from metaclip_core.metadata.provenance import SourceFile
from metaclip_core.metadata.store import OFFERED
from metaclip_core.metadata.wordnet_formats import FileDrop, FileNotes, LemmaDrop, Word, reader_of

WORDNET_SOURCE = "wordnet"
FILES_STAGE = "wordnet files"
LEMMAS_STAGE = "wordnet lemmas"
# Codes of tab files, then BCP 47 as WN-LMF has it.
_NAMESPACES = (Namespace.WORDNET, Namespace.ISO639)


class WordNetWords(StrEnum):
    """Which words of a synset are entries."""

    LEMMAS = "lemmas"  # all, as in MetaCLIP 2
    HEADS = "heads"  # the first, as in MetaCLIP v1


@dataclass(frozen=True, kw_only=True)
class WordNets:
    """What a folder of WordNets holds."""

    tables: dict[str, pa.Table]  # language → OFFERED, many senses first, then by code point
    files: list[SourceFile]


def read_wordnets(
    filesystem: fs.FileSystem, path: str, *, words: WordNetWords | str = WordNetWords.LEMMAS, funnel: Funnel
) -> WordNets:
    """The lemmas of all WordNets under `path`, in an order that depends on the files' content alone.

    Bad files and lines are counted and left out, and so are words of a language that the table does not know. Blanks
    stand for underscores, and an adjective's marker of position is no part of it.

    Args:
        filesystem: holds `path`.
        path: of the folder.
        words: which words of a synset are entries.
        funnel: gets the counts, in stages FILES_STAGE (`FileDrop`) and LEMMAS_STAGE (`LemmaDrop`).

    Raises:
        FileNotFoundError: no such folder.
    """
    words = WordNetWords(words)
    senses: dict[str, Counter[str]] = {}
    files = []
    infos = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    for info in sorted((info for info in infos if info.type == fs.FileType.File), key=lambda info: str(info.path)):
        funnel.enter(FILES_STAGE)
        reader = reader_of(info.base_name)
        if reader is None:
            funnel.drop(FILES_STAGE, FileDrop.UNKNOWN)
            continue
        with filesystem.open_input_file(info.path) as stream:
            content = stream.read()
        notes = FileNotes()
        languages = {
            language
            for word in reader(info.base_name, content, notes)
            if (language := _take(word, words, senses, funnel)) is not None
        }
        _count(notes, funnel)
        files.append(
            SourceFile(
                source=WORDNET_SOURCE,
                name=str(info.path).removeprefix(path.rstrip("/") + "/"),
                num_bytes=len(content),
                digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
                licences=tuple(sorted(notes.licences)),
                languages=tuple(sorted(languages)),
            )
        )
    return WordNets(tables={language: _table(senses[language]) for language in sorted(senses)}, files=files)


def _take(word: Word, words: WordNetWords, senses: dict[str, Counter[str]], funnel: Funnel) -> str | None:
    """Count `word` for its language, which is returned, or the reason why it has none."""
    funnel.enter(LEMMAS_STAGE)
    language = _language(word.label)
    text = " ".join(word.text.replace("_", " ").split())
    if language is None:
        funnel.drop(LEMMAS_STAGE, LemmaDrop.LANGUAGE_UNKNOWN)
    elif not text:
        funnel.drop(LEMMAS_STAGE, LemmaDrop.BLANK)
    elif words is WordNetWords.HEADS and not word.is_head:
        funnel.drop(LEMMAS_STAGE, LemmaDrop.NOT_HEAD)
    else:
        senses.setdefault(language, Counter())[text] += 1
        return language
    return None


def _language(label: str) -> str | None:
    for namespace in _NAMESPACES:
        if is_label(label, namespace=namespace):
            return metadata_language(label, namespace=namespace)
    return None


def _count(notes: FileNotes, funnel: Funnel) -> None:
    for reason in notes.file_drops:
        funnel.drop(FILES_STAGE, reason)
    funnel.enter(LEMMAS_STAGE, notes.broken_lines)
    funnel.drop(LEMMAS_STAGE, LemmaDrop.LINE_BROKEN, notes.broken_lines)


def _table(senses: Mapping[str, int]) -> pa.Table:
    ranked: list[Any] = sorted(senses.items(), key=lambda lemma: (-lemma[1], lemma[0]))
    entries, scores = zip(*ranked, strict=True)
    return pa.table([pa.array(entries, pa.string()), pa.array(scores, pa.float64())], schema=OFFERED)
