"""Which metadata entries a caption mentions: all of its language's, overlaps included, however large the metadata.

Both sides pass the same normaliser, so that an entry is mentioned where its form is a substring of the caption's. One
automaton for each language finds all entries in one pass over the caption. It is built from the entries' text when
the language is first met, and never stored: what is stored stays readable by every later version.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import ahocorasick
import numpy as np
from numpy.typing import NDArray
from pyarrow import fs

from metaclip_core.metadata.store import read_entries, read_manifest
from metaclip_core.text import Normaliser

_log = logging.getLogger(__name__)

_NO_ENTRIES = np.array([], dtype=np.int32)


class Automaton(Protocol):
    """Finds many patterns in a text at once."""

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """An automaton of `patterns`, which are different from each other, and not empty."""
        ...

    def find(self, text: str) -> Iterable[int]:
        """Index of every pattern that is a substring of `text`, overlaps included, once for each occurrence."""
        ...


class AhoCorasick:
    """The automaton of pyahocorasick."""

    def __init__(self, automaton: ahocorasick.Automaton) -> None:
        self._automaton = automaton

    @classmethod
    def build(cls, patterns: Sequence[str]) -> Self:
        """See `Automaton`."""
        automaton = ahocorasick.Automaton(ahocorasick.STORE_INTS)
        for index, pattern in enumerate(patterns):
            automaton.add_word(pattern, index)
        automaton.make_automaton()
        return cls(automaton)

    def find(self, text: str) -> Iterable[int]:
        """See `Automaton`. Not by `iter_long`, which drops overlapping matches."""
        return (index for _, index in self._automaton.iter(text))


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """The entries of one language as they are searched for.

    Of entries that are equal after normalising, the first stands for all: the others are never reported, so that one
    mention counts once. Entries of which nothing visible is left are skipped.
    """

    automaton: Automaton | None  # None where no entry is left
    entry_ids: NDArray[np.int32]  # of each pattern; ascending
    num_duplicates: int
    num_blank: int

    @classmethod
    def build(cls, entries: Sequence[str], *, normaliser: Normaliser) -> Self:
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
            automaton=AhoCorasick.build(list(entry_ids)) if entry_ids else None,
            entry_ids=np.fromiter(entry_ids.values(), np.int32, count=len(entry_ids)),
            num_duplicates=len(entries) - num_blank - len(entry_ids),
            num_blank=num_blank,
        )

    def find(self, normalised: str) -> NDArray[np.int32]:
        """Ids of the entries in a normalised caption; sorted, unique."""
        found = sorted(set(self.automaton.find(normalised))) if self.automaton else []
        return self.entry_ids[found] if found else _NO_ENTRIES


class EntryMatcher:
    """Finds the entries of captions, each in its own language; holds a vocabulary for each language met so far."""

    def __init__(
        self, languages: Iterable[str], load_entries: Callable[[str], Sequence[str]], *, normaliser: Normaliser
    ) -> None:
        self._languages = frozenset(languages)
        self._load_entries = load_entries
        self._normaliser = normaliser
        self._vocabularies: dict[str, Vocabulary] = {}

    @classmethod
    def from_entries(cls, entries_by_language: Mapping[str, Sequence[str]], *, normaliser: Normaliser) -> Self:
        """A matcher of entries in memory; an entry's id is its position."""
        return cls(entries_by_language, entries_by_language.__getitem__, normaliser=normaliser)

    @classmethod
    def from_metadata(cls, filesystem: fs.FileSystem, path: str, *, normaliser: Normaliser) -> Self:
        """A matcher of a metadata folder, which is read language by language, as captions need them.

        Raises:
            FileNotFoundError: there is no complete metadata at `path`.
        """

        def load_entries(language: str) -> list[str]:
            return list(read_entries(filesystem, path, language).to_pylist())

        return cls(read_manifest(filesystem, path).num_entries, load_entries, normaliser=normaliser)

    def match(self, captions: Sequence[str], languages: Sequence[str]) -> list[NDArray[np.int32]]:
        """The entries that each caption mentions.

        Args:
            captions: raw texts.
            languages: the metadata language of each; one without metadata has no matches.

        Returns:
            For each caption the ids of its entries, int32, sorted and unique.

        Raises:
            ValueError: captions and languages differ in number.
        """
        return [self._match(caption, language) for caption, language in zip(captions, languages, strict=True)]

    def vocabulary(self, language: str) -> Vocabulary:
        """What is searched for in captions of `language`, built at its first use.

        Raises:
            KeyError: the metadata does not have this language.
        """
        if language not in self._vocabularies:
            if language not in self._languages:
                raise KeyError(language)
            vocabulary = Vocabulary.build(self._load_entries(language), normaliser=self._normaliser)
            self._vocabularies[language] = vocabulary
            _log.info(
                "%s: %d entries searched for, %d equal to an earlier one, %d blank",
                language,
                len(vocabulary.entry_ids),
                vocabulary.num_duplicates,
                vocabulary.num_blank,
            )
        return self._vocabularies[language]

    def _match(self, caption: str, language: str) -> NDArray[np.int32]:
        if language not in self._languages:
            return _NO_ENTRIES
        return self.vocabulary(language).find(self._normaliser.caption(caption))
