"""A folder of metadata: `<language>.parquet` for each language, and `manifest.json`, which makes it complete.

An entry's id is its row number, so a folder is written once and never changed. Ids mean nothing without their folder.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metaclip_core.records import check

ENTRIES = pa.schema(
    [
        ("entry", pa.string()),
        ("source", pa.string()),  # wordnet, unigram, …: where the entry comes from; the first source wins
        ("score", pa.float64()),  # what its source ranked it by
    ]
)
OFFERED = pa.schema(  # what a source offers for one language, before `merge` decides
    [ENTRIES.field(name) for name in ("entry", "score")]
)
FORMAT_REVISION = 1
_MANIFEST = "manifest.json"
_LANGUAGE = re.compile("[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a metadata folder holds, and where it comes from."""

    sources: dict[str, dict[str, int]]  # language → source → number of entries
    provenance: dict[str, Any]  # sources, licences, configuration: JSON for people to read
    format_revision: int = FORMAT_REVISION

    @property
    def num_entries(self) -> dict[str, int]:
        """Number of entries by language, languages in order."""
        return {language: sum(by_source.values()) for language, by_source in self.sources.items()}


def write_metadata(
    filesystem: fs.FileSystem, path: str, tables: Mapping[str, pa.Table], *, provenance: Mapping[str, Any]
) -> Manifest:
    """Write a metadata folder at `path`, the manifest last: a folder without one is unfinished, and overwritten.

    Args:
        filesystem: holds `path`.
        path: of the folder; made where missing.
        tables: an ENTRIES table for each language, in the order of the ids.
        provenance: where the entries come from and under which licences; JSON.

    Raises:
        FileExistsError: there is a complete folder at `path`.
        ValueError: a language's name is no code, or an entry or source is null.
        SchemaError: a table is not of the schema ENTRIES.
    """
    if filesystem.get_file_info(f"{path}/{_MANIFEST}").type != fs.FileType.NotFound:
        raise FileExistsError(f"metadata at {path} is complete, and never changed")
    checked = {language: _checked(table, language) for language, table in sorted(tables.items())}
    manifest = Manifest(
        sources={language: dict(Counter(table["source"].to_pylist())) for language, table in checked.items()},
        provenance=dict(provenance),
    )
    encoded = json.dumps(asdict(manifest), ensure_ascii=False, indent=1).encode()  # raises before anything is written
    filesystem.create_dir(path, recursive=True)
    for language, table in checked.items():
        pq.write_table(table, _entries_path(path, language), filesystem=filesystem, compression="zstd")
    with filesystem.open_output_stream(f"{path}/{_MANIFEST}") as file:
        file.write(encoded)
    return manifest


def read_manifest(filesystem: fs.FileSystem, path: str) -> Manifest:
    """The manifest of the metadata folder at `path`.

    Raises:
        FileNotFoundError: there is none: no metadata, or unfinished.
        ValueError: it is of another format.
    """
    with filesystem.open_input_file(f"{path}/{_MANIFEST}") as file:
        content = json.loads(file.read())
    revision = content.get("format_revision")
    if revision != FORMAT_REVISION:
        raise ValueError(f"{path}/{_MANIFEST} is of format {revision}, this program reads {FORMAT_REVISION}")
    return Manifest(**content)


def read_entries(filesystem: fs.FileSystem, path: str, language: str) -> pa.StringArray:
    """The entries of `language`, in the order of their ids.

    Raises:
        FileNotFoundError: the folder does not have the language.
    """
    table = pq.read_table(_entries_path(path, language), columns=["entry"], filesystem=filesystem)
    return table["entry"].combine_chunks()


def read_table(filesystem: fs.FileSystem, path: str, language: str) -> pa.Table:
    """The ENTRIES table of `language`, in the order of the ids.

    Raises:
        FileNotFoundError: the folder does not have the language.
    """
    return pq.read_table(_entries_path(path, language), columns=ENTRIES.names, filesystem=filesystem)


def _entries_path(path: str, language: str) -> str:
    if not _LANGUAGE.fullmatch(language):
        raise ValueError(f"{language!r} is no code of a language: it names a file")
    return f"{path}/{language}.parquet"


def _checked(table: pa.Table, language: str) -> pa.Table:
    _entries_path("", language)
    table = check(table, ENTRIES, stage=f"metadata of {language}")
    if table["entry"].null_count or table["source"].null_count:
        raise ValueError(f"metadata of {language}: an entry or its source is null")
    return table
