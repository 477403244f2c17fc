import time

import pyarrow as pa
import pytest
from pyarrow import fs

from metaclip_core.metadata.browse import FOUND, find_entries, sample_entries
from metaclip_core.metadata.store import ENTRIES, read_table, write_metadata

LOCAL = fs.LocalFileSystem()
WORDS = ["0", "cat", "Cat", "big cat", "(a+)+$", "東京", "東京都", "100%", "a\\b"]


def entries(words, sources=None):
    return pa.table([words, sources or ["wordnet"] * len(words), [1.0] * len(words)], schema=ENTRIES)


@pytest.fixture
def folder(tmp_path):
    write_metadata(LOCAL, f"{tmp_path}/m", {"en": entries(WORDS), "de": entries([])}, provenance={})
    return f"{tmp_path}/m"


@pytest.mark.parametrize(
    ("text", "ids"),
    [("", list(range(9))), ("cat", [1, 3]), ("東京", [5, 6]), ("(a+)+$", [4]), ("%", [7]), ("\\", [8]), ("dog", [])],
)
def test_entries_that_hold_a_text_are_found_with_their_ids(folder, text, ids):
    found = find_entries(LOCAL, folder, "en", text=text, limit=100)
    assert found.table.schema == FOUND
    assert found.table["id"].to_pylist() == ids
    assert found.table["entry"].to_pylist() == [WORDS[number] for number in ids]
    assert found.num_matches == len(ids)


def test_a_limit_shows_the_first_and_counts_all(folder):
    found = find_entries(LOCAL, folder, "en", text="c", limit=1)
    assert (found.table["id"].to_pylist(), found.num_matches) == ([1], 2)


def test_a_hostile_text_is_a_text(folder, tmp_path):
    write_metadata(LOCAL, f"{tmp_path}/long", {"en": entries(["a" * 256] * 10_000)}, provenance={})
    start = time.monotonic()
    assert find_entries(LOCAL, f"{tmp_path}/long", "en", text="(a+)+$" * 1000, limit=9).num_matches == 0
    assert time.monotonic() - start < 30


def test_a_language_without_entries_has_none(folder):
    assert find_entries(LOCAL, folder, "de", text="a", limit=9).num_matches == 0


def test_a_language_that_is_not_there_is_not_found(folder):
    with pytest.raises(FileNotFoundError):
        find_entries(LOCAL, folder, "fr", limit=9)
    with pytest.raises(ValueError, match="no code"):
        find_entries(LOCAL, folder, "../en", limit=9)


def test_a_text_that_is_none_is_refused(folder):
    with pytest.raises(ValueError, match="surrogates not allowed"):
        find_entries(LOCAL, folder, "en", text="\ud800", limit=9)


def test_samples_go_from_the_first_to_the_last_of_each_source():
    table = entries([f"w{n}" for n in range(100)] + ["t"], ["wordnet"] * 100 + ["title"])
    assert sample_entries(table, per_source=4) == {"wordnet": ["w0", "w33", "w66", "w99"], "title": ["t"]}
    assert sample_entries(entries([]), per_source=4) == {}


def test_a_table_that_was_written_is_read_again(folder):
    assert read_table(LOCAL, folder, "en") == entries(WORDS)
