"""Entry lists that someone brings along: one file for each language, text or JSON.

    en.txt      an entry a line, UTF-8; optionally `entry<TAB>source`
    ja.json     a list of strings

Files are named by metadata language (`languages.languages()`), and a folder holds nothing else: a file that is silently
left out would be a language that silently keeps no pairs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from enum import StrEnum

import pyarrow as pa
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.languages import languages
from metaclip_core.metadata.store import ENTRIES

MAX_ENTRY_CHARS = 256
IMPORT_SOURCE = "import"
NUMBER_SOURCE = "number"
NUMBERS = tuple(map(str, range(100)))

_SUFFIXES = ("txt", "json")


class EntryDrop(StrEnum):
    """Why an entry of a list is not imported."""

    BLANK = "entry_blank"
    DUPLICATE = "entry_duplicate"  # the first one stays
    OVER_LIMIT = "entry_over_limit"


def read_entry_files(filesystem: fs.FileSystem, path: str, *, funnel: Funnel | None = None) -> dict[str, pa.Table]:
    """The entries of a folder of lists: language → ENTRIES, in the order of the list.

    Blanks around an entry are no part of it. Entries that are blank, seen before in the list, or longer than
    MAX_ENTRY_CHARS are left out and counted.

    Args:
        filesystem: holds `path`.
        path: of the folder.
        funnel: gets the counts, in a stage `import <language>` for each language.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: a file is not named by a metadata language, or does not hold what its name says; or there is none.
    """
    tables: dict[str, pa.Table] = {}
    files = sorted(filesystem.get_file_info(fs.FileSelector(path)), key=lambda file: str(file.path))
    for file in files:
        language = _language_of(file)
        if language in tables:
            raise ValueError(f"{file.path}: {language} has two lists; expected one of .txt and .json")
        with filesystem.open_input_file(file.path) as stream:
            content = stream.read()
        text = _decoded(content, file.path)
        rows = _rows_of_text(text, file.path) if file.extension == "txt" else _rows_of_json(text, file.path)
        tables[language] = _table_of(rows, stage=f"import {language}", funnel=Funnel() if funnel is None else funnel)
    if not tables:
        raise ValueError(f"{path}: expected a list <language>.txt or <language>.json for each language, found none")
    return tables


def with_numbers(table: pa.Table) -> pa.Table:
    """`table` behind the numbers "0" to "99", which are metadata of every language; its own of them are left out."""
    numbers = pa.table([NUMBERS, [NUMBER_SOURCE] * len(NUMBERS), [0.0] * len(NUMBERS)], schema=ENTRIES)
    others = pa.array([entry not in NUMBERS for entry in table["entry"].to_pylist()], pa.bool_())
    return pa.concat_tables([numbers, table.filter(others)]).combine_chunks()


def _language_of(file: fs.FileInfo) -> str:
    language = str(file.base_name).removesuffix(f".{file.extension}")
    is_list = file.type == fs.FileType.File and file.extension in _SUFFIXES
    if not is_list or language not in languages():
        raise ValueError(
            f"{file.path}: expected <language>.txt or <language>.json, where <language> is one of "
            f"{' '.join(sorted(languages()))}"
        )
    return language


def _decoded(content: bytes, path: str) -> str:
    try:
        return content.decode("utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8, but byte {error.start} is not") from error


def _rows_of_text(text: str, path: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.removesuffix("\n").split("\n"), 1):
        entry, *source = line.removesuffix("\r").split("\t")
        if len(source) > 1:
            raise ValueError(f"{path}: line {number}: expected `entry` or `entry<TAB>source`, got {len(source)} tabs")
        yield entry, "".join(source).strip() or IMPORT_SOURCE


def _rows_of_json(text: str, path: str) -> Iterator[tuple[str, str]]:
    try:
        entries = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON: {error}") from error
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a JSON list of strings, got {type(entries).__name__}")  # noqa: TRY004  data
    for index, entry in enumerate(entries):
        if not isinstance(entry, str):
            raise ValueError(f"{path}: item {index} is {type(entry).__name__}, expected a string")  # noqa: TRY004  data
        if not _is_encodable(entry):
            raise ValueError(f"{path}: item {index} holds a lone surrogate, which is no text")
        yield entry, IMPORT_SOURCE


def _is_encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _table_of(rows: Iterable[tuple[str, str]], *, stage: str, funnel: Funnel) -> pa.Table:
    source_of: dict[str, str] = {}
    for untrimmed, source in rows:
        entry = untrimmed.strip()
        funnel.enter(stage)
        if not entry:
            funnel.drop(stage, EntryDrop.BLANK)
        elif len(entry) > MAX_ENTRY_CHARS:
            funnel.drop(stage, EntryDrop.OVER_LIMIT)
        elif entry in source_of:
            funnel.drop(stage, EntryDrop.DUPLICATE)
        else:
            source_of[entry] = source
    return pa.table([list(source_of), list(source_of.values()), [0.0] * len(source_of)], schema=ENTRIES)
