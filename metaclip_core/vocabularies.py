"""The entries of one language as they are searched for: built from text, or read from what an earlier build left."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from metaclip_core.automata import Automaton, Daachorse, Engine, Found, automaton_of
from metaclip_core.text import Normaliser

_log = logging.getLogger(__name__)

_AUTOMATON, _ENTRY_IDS = "automaton", "entry_ids"


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
            automaton=automaton_of(engine, list(entry_ids)) if entry_ids else None,
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
    """Vocabularies of one metadata version, as their engine serialises them. A language loads in milliseconds.

    The folder is this user's own, on a local disk, and may be removed at any time. Its files are checked on reading; a
    damaged one counts as missing.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder, for this user alone.

        Raises:
            PermissionError: it belongs to somebody else.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{folder} belongs to another user")
        self._folder = folder

    def num_bytes(self, name: str) -> int:
        """About the memory that the vocabulary will take; 0 where it is missing."""
        path = self._path(name)
        return path.stat().st_size if path.exists() else 0

    def read(self, name: str) -> Vocabulary | None:
        """The vocabulary, or None where it is missing or damaged."""
        try:
            with safe_open(self._path(name), framework="numpy") as file:
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  it is no mapping
                counts = file.metadata()
            return Vocabulary(
                automaton=Daachorse(tensors[_AUTOMATON].tobytes()) if _AUTOMATON in tensors else None,
                entry_ids=tensors.get(_ENTRY_IDS),
                num_duplicates=int(counts["num_duplicates"]),
                num_blank=int(counts["num_blank"]),
            )
        except FileNotFoundError:
            return None
        except (SafetensorError, ValueError, KeyError) as error:
            _log.warning("%s is damaged, and built anew: %s", self._path(name), error)
            return None

    def write(self, name: str, vocabulary: Vocabulary) -> None:
        """Keep a vocabulary; one whose engine has no safe serial form is not kept."""
        automaton, entry_ids = vocabulary.automaton, vocabulary.entry_ids
        if automaton is not None and not isinstance(automaton, Daachorse):
            return
        tensors = {} if entry_ids is None else {_ENTRY_IDS: entry_ids}
        if automaton is not None:
            tensors[_AUTOMATON] = np.frombuffer(automaton.serialise(), np.uint8)
        counts = {"num_duplicates": str(vocabulary.num_duplicates), "num_blank": str(vocabulary.num_blank)}
        with tempfile.TemporaryDirectory(dir=self._folder) as aside:
            save_file(tensors, Path(aside) / name, metadata=counts)
            (Path(aside) / name).replace(self._path(name))

    def _path(self, name: str) -> Path:
        return self._folder / name
