"""The entries of one language as they are searched for: built from text, or read from what an earlier build left."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from metaclip_core.automata.base import Arrays, Automaton, Found, StoredAutomaton
from metaclip_core.automata.engines import Engine, automaton_type, stored_automaton
from metaclip_core.text import Normaliser

_log = logging.getLogger(__name__)

_ENTRY_IDS = "entry_ids"
_CHECKSUM_BYTES = 4


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The searched entries of a language.

    Of entries that are equal after normalising, the first stands for all: the others are never reported, so that one
    mention counts once. Entries of which nothing visible is left are skipped.
    """

    automaton: Automaton | None  # None where no entry is left
    entry_ids: NDArray[np.int32] | None  # of each pattern; ascending. None: pattern i is entry i
    num_duplicates: int
    num_blank: int

    @classmethod
    def build(cls, entries: Sequence[str], *, normaliser: Normaliser, engine: Engine) -> Self:
        """The vocabulary of `entries`, whose ids are their positions."""
        entry_ids: dict[str, int] = {}
        num_blank = 0
        for entry_id, entry in enumerate(entries):
            pattern = normaliser.entry(entry)
            if pattern:
                entry_ids.setdefault(pattern, entry_id)
            else:
                num_blank += 1
        return cls(
            automaton=automaton_type(engine).build(list(entry_ids)) if entry_ids else None,
            entry_ids=None
            if len(entry_ids) == len(entries)
            else np.fromiter(entry_ids.values(), np.int32, count=len(entry_ids)),
            num_duplicates=len(entries) - num_blank - len(entry_ids),
            num_blank=num_blank,
        )

    @property
    def num_bytes(self) -> int:
        """The memory it takes."""
        return (0 if self.entry_ids is None else self.entry_ids.nbytes) + (
            0 if self.automaton is None else self.automaton.num_bytes
        )

    def find(self, forms: Sequence[str]) -> Found:
        """Ids of the entries in normalised captions."""
        if self.automaton is None:
            return Found.none_in(len(forms))
        found = self.automaton.find(forms)
        return found if self.entry_ids is None else Found(offsets=found.offsets, ids=self.entry_ids[found.ids])


class VocabularyFolder:
    """Vocabularies of one metadata version on a local disk: a language that was built once loads in milliseconds.

    Files are Arrow tables of one row and a checksum, mapped into memory: a damaged one counts as missing. The folder is
    this user's own, and may be removed at any time.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder, for this user alone; its parent is there.

        Raises:
            PermissionError: it is somebody else's, or leads elsewhere.
        """
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise PermissionError(f"{folder} is no folder of this user's own")
        self._folder = folder

    def num_bytes(self, name: str) -> int:
        """About the memory that the vocabulary will take; 0 where it is missing."""
        path = self._folder / name
        return path.stat().st_size if path.exists() else 0

    def read(self, name: str, *, engine: Engine) -> Vocabulary | None:
        """The vocabulary, or None where it is missing or damaged."""
        try:
            arrays, metadata = _read(self._folder / name)
            return Vocabulary(
                automaton=stored_automaton(engine, arrays) if arrays.keys() - {_ENTRY_IDS} else None,
                entry_ids=arrays.get(_ENTRY_IDS),
                num_duplicates=int(metadata[b"num_duplicates"]),
                num_blank=int(metadata[b"num_blank"]),
            )
        except FileNotFoundError:
            return None
        except ValueError as error:
            _log.warning("%s is damaged, and built anew: %s", self._folder / name, error)
            return None

    def write(self, name: str, vocabulary: Vocabulary) -> None:
        """Keep a vocabulary; one whose engine has no safe form is not kept."""
        automaton, entry_ids = vocabulary.automaton, vocabulary.entry_ids
        arrays = {} if entry_ids is None else {_ENTRY_IDS: entry_ids}
        if automaton is not None:
            if not isinstance(automaton, StoredAutomaton):
                return
            arrays |= automaton.to_arrays()
        counts = {"num_duplicates": str(vocabulary.num_duplicates), "num_blank": str(vocabulary.num_blank)}
        with tempfile.TemporaryDirectory(dir=self._folder) as aside:
            _write(Path(aside) / name, arrays, counts)
            (Path(aside) / name).replace(self._folder / name)


def _write(path: Path, arrays: Arrays, metadata: dict[str, str]) -> None:
    columns = {
        name: pa.LargeListArray.from_arrays(pa.array([0, len(array)], pa.int64()), pa.array(array))
        for name, array in arrays.items()
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with pa.BufferOutputStream() as stream:
        with pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
        content = stream.getvalue()
    with path.open("wb") as file:
        file.write(content)
        file.write(_checksum(content))


def _read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[bytes, bytes]]:
    """Arrays that lie in the mapped file, and metadata.

    Raises:
        ValueError: the file is damaged.
    """
    with pa.memory_map(str(path)) as file:
        content = file.read_buffer()
    arrow, checksum = content.slice(0, max(0, content.size - _CHECKSUM_BYTES)), content[-_CHECKSUM_BYTES:]
    if bytes(checksum) != _checksum(arrow):
        raise ValueError("checksum differs")
    table = pa.ipc.open_file(arrow).read_all()
    arrays = {name: table[name].chunk(0).values.to_numpy(zero_copy_only=True) for name in table.column_names}
    return arrays, table.schema.metadata


def _checksum(content: bytes | pa.Buffer) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECKSUM_BYTES, "little")
