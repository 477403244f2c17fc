import os
import stat
from pathlib import Path

import numpy as np
import pytest

from metaclip_core.automata.engines import Engine
from metaclip_core.matching import EntryMatcher
from metaclip_core.text import Normaliser
from metaclip_core.vocabularies import Vocabulary, VocabularyFolder

ENTRIES = ["car", "", "red car", "car ", "東京", "U.S."]
FORMS = [Normaliser().caption(text) for text in ("a red car", "東京 U.S.", "")]


STORED = [Engine.DAACHORSE, Engine.HASH_TRIE]


def built(entries=ENTRIES, engine=Engine.HASH_TRIE):
    return Vocabulary.build(entries, normaliser=Normaliser(), engine=engine)


@pytest.mark.parametrize("entries", [ENTRIES, ["car", "red car", "東京"], [], ["", " "]])
@pytest.mark.parametrize("engine", STORED)
def test_vocabulary_read_back_finds_the_same(tmp_path, entries, engine):
    folder, vocabulary = VocabularyFolder(tmp_path / "v"), built(entries, engine)
    folder.write("en", vocabulary)
    read = folder.read("en", engine=engine)
    expected, got = vocabulary.find(FORMS), read.find(FORMS)
    assert got.offsets.tolist() == expected.offsets.tolist()
    assert got.ids.tolist() == expected.ids.tolist()
    assert (read.num_duplicates, read.num_blank) == (vocabulary.num_duplicates, vocabulary.num_blank)
    assert read.num_bytes == vocabulary.num_bytes <= folder.num_bytes("en")
    assert not [path for path in (tmp_path / "v").iterdir() if path.is_dir()]


def test_vocabulary_of_different_entries_needs_no_ids():
    assert built(["a", "b"]).entry_ids is None
    assert built().entry_ids.tolist() == [0, 2, 4, 5]


def test_folder_without_the_vocabulary_has_none(tmp_path):
    folder = VocabularyFolder(tmp_path)
    assert folder.read("en", engine=Engine.HASH_TRIE) is None
    assert folder.num_bytes("en") == 0


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b'\x10\0\0\0\0\0\0\0{"a":1}        '])
def test_folder_with_a_damaged_file_has_none_and_says_so(tmp_path, caplog, damage):
    (tmp_path / "en").write_bytes(damage)
    assert VocabularyFolder(tmp_path).read("en", engine=Engine.HASH_TRIE) is None
    assert "damaged" in caplog.text


@pytest.mark.parametrize("engine", STORED)
def test_folder_with_a_cut_or_changed_file_has_none(tmp_path, engine):
    folder = VocabularyFolder(tmp_path)
    folder.write("en", built(engine=engine))
    whole = (tmp_path / "en").read_bytes()
    for place in range(0, len(whole), 23):
        (tmp_path / "en").write_bytes(whole[:place])
        assert folder.read("en", engine=engine) is None
        (tmp_path / "en").write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        assert folder.read("en", engine=engine) is None


def test_folder_keeps_nothing_that_could_be_pickled_alone(tmp_path):
    folder = VocabularyFolder(tmp_path)
    folder.write("en", built(engine=Engine.PYAHOCORASICK))
    assert list(tmp_path.iterdir()) == []


def test_folder_is_for_its_user_alone(tmp_path, monkeypatch):
    VocabularyFolder(tmp_path / "v")
    assert stat.S_IMODE((tmp_path / "v").stat().st_mode) == 0o700
    other = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: other)
    with pytest.raises(PermissionError, match="of this user's own"):
        VocabularyFolder(tmp_path / "v")


@pytest.mark.parametrize("lead", ["symlink", "file"])
def test_folder_that_leads_elsewhere_is_refused(tmp_path, lead):
    (tmp_path / "target").mkdir()
    if lead == "symlink":
        (tmp_path / "v").symlink_to(tmp_path / "target")
    else:
        (tmp_path / "v").write_bytes(b"")
    with pytest.raises(PermissionError, match="of this user's own"):
        VocabularyFolder(tmp_path / "v")


@pytest.mark.parametrize("engine", STORED)
def test_vocabulary_read_back_lies_in_the_mapped_file(tmp_path, engine):
    folder = VocabularyFolder(tmp_path)
    folder.write("en", built([f"entry {number}" for number in range(20_000)] + [""], engine))
    size = folder.num_bytes("en")
    before = mapped_bytes(tmp_path / "en")
    read = folder.read("en", engine=engine)
    assert (before, mapped_bytes(tmp_path / "en") >= size) == (0, True)
    assert not read.entry_ids.flags.owndata


def mapped_bytes(path):
    """How much of a file this process has mapped."""
    maps = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in maps if str(path) in line]
    return sum(int(stop, 16) - int(start, 16) for start, stop in spans)


@pytest.mark.parametrize("engine", STORED)
def test_matcher_with_a_folder_builds_once_and_then_reads(tmp_path, engine):
    folder, asked = VocabularyFolder(tmp_path), []

    def load_entries(language):
        asked.append(language)
        return ENTRIES

    def match():
        matcher = EntryMatcher(["en"], load_entries, normaliser=Normaliser(), engine=engine, folder=folder)
        return np.concatenate(matcher.match(["a red car", "東京"], ["en", "en"])).tolist()

    assert match() == match() == [0, 2, 4]
    assert asked == ["en"]
