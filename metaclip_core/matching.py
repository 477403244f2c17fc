"""Which metadata entries a caption mentions: all of its language's, overlaps included, however large the metadata.

Both sides pass the same normaliser, so that an entry is mentioned where its form is a substring of the caption's. One
automaton for each language finds all entries in one pass over the caption. It is built when the language is first met.

Under a byte budget, languages take turns: the captions of a batch are searched language by language, those in memory
first, so that a batch of many languages loads each of them once at most. The larger the batch, the fewer the loads.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from metaclip_core.automata.base import Found
from metaclip_core.automata.engines import Engine
from metaclip_core.metadata.store import read_entries, read_manifest
from metaclip_core.residency import Residents
from metaclip_core.text import Normaliser
from metaclip_core.vocabularies import Vocabulary, VocabularyFolder

_log = logging.getLogger(__name__)


class EntryMatcher:
    """Finds the entries of captions, each in its own language. Several threads may share one."""

    def __init__(
        self,
        languages: Iterable[str],
        load_entries: Callable[[str], Sequence[str]],
        *,
        normaliser: Normaliser,
        engine: Engine | str = Engine.PYAHOCORASICK,
        budget_bytes: int | None = None,
        folder: VocabularyFolder | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            languages: those that have metadata.
            load_entries: the entries of one of them; an entry's id is its position.
            normaliser: of captions and entries.
            engine: what searches; results are the same.
            budget_bytes: bounds the automata held at a time; None for no limit. What is being loaded comes on top.
            folder: where automata are kept between processes, and between their turns under a budget; of these entries
                alone. None: they are built anew each time.
        """
        self._languages = frozenset(languages)
        self._load_entries = load_entries
        self._normaliser = normaliser
        self._engine = Engine(engine)
        self._folder = folder
        self._vocabularies: Residents[Vocabulary] = Residents(
            self._load, expected_bytes=self._expected_bytes, budget_bytes=budget_bytes
        )

    @classmethod
    def from_entries(
        cls,
        entries_by_language: Mapping[str, Sequence[str]],
        *,
        normaliser: Normaliser,
        engine: Engine | str = Engine.PYAHOCORASICK,
        budget_bytes: int | None = None,
    ) -> Self:
        """A matcher of entries in memory; an entry's id is its position."""
        load_entries = entries_by_language.__getitem__
        return cls(entries_by_language, load_entries, normaliser=normaliser, engine=engine, budget_bytes=budget_bytes)

    @classmethod
    def from_metadata(
        cls,
        filesystem: fs.FileSystem,
        path: str,
        *,
        normaliser: Normaliser,
        engine: Engine | str = Engine.PYAHOCORASICK,
        budget_bytes: int | None = None,
        folder: VocabularyFolder | None = None,
    ) -> Self:
        """A matcher of a metadata folder, which is read language by language, as captions need them.

        Raises:
            FileNotFoundError: there is no complete metadata at `path`.
        """

        def load_entries(language: str) -> list[str]:
            return list(read_entries(filesystem, path, language).to_pylist())

        return cls(
            read_manifest(filesystem, path).num_entries,
            load_entries,
            normaliser=normaliser,
            engine=engine,
            budget_bytes=budget_bytes,
            folder=folder,
        )

    @property
    def num_bytes(self) -> int:
        """The memory of the automata held now."""
        return self._vocabularies.num_bytes

    @property
    def num_reloads(self) -> int:
        """How often a language was loaded that had had to leave."""
        return self._vocabularies.num_reloads

    def match(self, captions: Sequence[str], languages: Sequence[str]) -> list[NDArray[np.int32]]:
        """The entries that each caption mentions.

        Args:
            captions: raw texts.
            languages: the metadata language of each; one without metadata has no matches.

        Returns:
            For each caption the ids of its entries, int32, sorted and unique.

        Raises:
            ValueError: captions and languages differ in number; or a language alone is more than the budget.
        """
        found = self.match_all(captions, languages)
        return [found.ids[start:end] for start, end in pairwise(found.offsets.tolist())]

    def match_all(self, captions: Sequence[str], languages: Sequence[str]) -> Found:
        """`match`, with the ids of all captions in one array."""
        rows_of: dict[str, list[int]] = {}
        for row, (_, language) in enumerate(zip(captions, languages, strict=True)):
            rows_of.setdefault(language, []).append(row)
        rows, ids = [np.array([], np.int64)], [np.array([], np.int32)]
        for language in sorted(self._languages.intersection(rows_of), key=self._is_absent):
            found = self._find(language, [captions[row] for row in rows_of[language]])
            rows.append(np.repeat(np.array(rows_of[language]), np.diff(found.offsets)))
            ids.append(found.ids)
        row_of_id = np.concatenate(rows)
        order = np.argsort(row_of_id, kind="stable")
        return Found(
            offsets=np.searchsorted(row_of_id[order], np.arange(len(captions) + 1)), ids=np.concatenate(ids)[order]
        )

    def vocabulary(self, language: str) -> Vocabulary:
        """What is searched for in captions of `language`.

        Raises:
            KeyError: the metadata does not have this language.
        """
        if language not in self._languages:
            raise KeyError(language)
        with self._vocabularies.using(language) as vocabulary:
            return vocabulary

    def _find(self, language: str, captions: Sequence[str]) -> Found:
        forms = [self._normaliser.caption(caption) for caption in captions]
        with self._vocabularies.using(language) as vocabulary:
            return vocabulary.find(forms)

    def _is_absent(self, language: str) -> bool:
        return language not in self._vocabularies

    def _expected_bytes(self, language: str) -> int:
        return self._folder.num_bytes(self._file_of(language)) if self._folder else 0

    def _load(self, language: str) -> Vocabulary:
        kept = self._folder.read(self._file_of(language), engine=self._engine) if self._folder else None
        if kept is not None:
            return kept
        built = Vocabulary.build(self._load_entries(language), normaliser=self._normaliser, engine=self._engine)
        if built.num_duplicates or built.num_blank:
            _log.info(
                "%s: %d entries equal to an earlier one, %d blank", language, built.num_duplicates, built.num_blank
            )
        if self._folder:
            self._folder.write(self._file_of(language), built)
        return built

    def _file_of(self, language: str) -> str:
        return f"{language}.{self._normaliser.mode}.{self._engine}"
