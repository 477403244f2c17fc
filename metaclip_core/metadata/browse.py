"""A look into a metadata folder: the entries that hold a text, and a sample of each source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs

from metaclip_core.metadata.store import ENTRIES, read_table

FOUND = pa.schema([("id", pa.int64()), *ENTRIES])


@dataclass(frozen=True, kw_only=True)
class FoundEntries:
    """The first entries that match, and how many do."""

    table: pa.Table  # FOUND, in the order of the ids
    num_matches: int


def find_entries(filesystem: fs.FileSystem, path: str, language: str, *, text: str = "", limit: int) -> FoundEntries:
    """The entries of `language` that hold `text`, in its case; all with the empty one.

    A plain substring, so that no pattern can be wrong or slow.

    Args:
        filesystem: holds `path`.
        path: of the metadata folder.
        language: a metadata language.
        text: what to look for.
        limit: rows of the table.

    Raises:
        FileNotFoundError: the folder does not have the language.
        ValueError: `text` holds a lone surrogate, or `language` is no code.
    """
    table = _with_ids(read_table(filesystem, path, language))
    matches = table.filter(pc.match_substring(table["entry"], text))
    return FoundEntries(table=matches.slice(0, limit), num_matches=matches.num_rows)


def sample_entries(table: pa.Table, *, per_source: int) -> dict[str, list[str]]:
    """Entries of each source of an ENTRIES table, at even distances from its first to its last; sources in order."""
    samples = {}
    for source in pc.unique(table["source"]).to_pylist():
        entries = table["entry"].filter(pc.equal(table["source"], source))
        places = np.unique(np.linspace(0, len(entries) - 1, num=min(per_source, len(entries))).astype(np.int64))
        samples[source] = entries.take(pa.array(places)).to_pylist()
    return samples


def _with_ids(table: pa.Table) -> pa.Table:
    return pa.table([pa.array(np.arange(table.num_rows)), *table.columns], schema=FOUND)
