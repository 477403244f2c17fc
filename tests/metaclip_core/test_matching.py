import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.automata.engines import Engine
from metaclip_core.matching import EntryMatcher
from metaclip_core.metadata.store import ENTRIES, write_metadata
from metaclip_core.text import Normaliser, NormaliserMode

# Few characters, so that entries often occur: spaced and unspaced scripts, marks, punctuation, beyond the basic plane.
ALPHABET = "ab A1 .'-éか\u3099ナー東京々ไม้हि한😀\U00020000\u200c"
words = st.text(st.sampled_from(ALPHABET), max_size=4)
captions = st.lists(words, max_size=8).flatmap(
    lambda parts: st.sampled_from(["", " ", ". "]).map(lambda gap: gap.join(parts))
)
modes = st.sampled_from(list(NormaliserMode))
engines = st.sampled_from(list(Engine))


def slow_match(entries, caption, normaliser):
    """Every entry that is a substring, by Python's own search; of equal forms the first."""
    form = normaliser.caption(caption)
    found, seen = [], set()
    for entry_id, entry in enumerate(entries):
        pattern = normaliser.entry(entry)
        if pattern and pattern in form and pattern not in seen:
            seen.add(pattern)
            found.append(entry_id)
    return found


def match_one(entries, caption, *, mode="unicode"):
    matcher = EntryMatcher.from_entries({"xx": entries}, normaliser=Normaliser(mode))
    [found] = matcher.match([caption], ["xx"])
    return found.tolist()


@given(st.lists(words, max_size=12), st.lists(captions, max_size=4), modes, engines)
def test_match_of_any_entries_and_captions_equals_the_naive_search(entries, many_captions, mode, engine):
    normaliser = Normaliser(mode)
    matcher = EntryMatcher.from_entries({"xx": entries}, normaliser=normaliser, engine=engine)
    got = matcher.match(many_captions, ["xx"] * len(many_captions))
    assert [ids.tolist() for ids in got] == [slow_match(entries, caption, normaliser) for caption in many_captions]


@given(st.text(max_size=60), st.data())
def test_match_of_pieces_of_the_caption_equals_the_naive_search(caption, data):
    cuts = st.tuples(st.integers(0, len(caption)), st.integers(0, len(caption))).map(sorted)
    entries = [caption[start:end] for start, end in data.draw(st.lists(cuts, max_size=8))]
    assert match_one(entries, caption) == slow_match(entries, caption, Normaliser())


@pytest.mark.parametrize(
    ("entries", "caption", "expected"),
    [
        (["U.S."], "the U.S. army", [0]),
        (["St. Louis", "Louis", "St."], "in St. Louis, Missouri", [0, 1, 2]),
        (["カメラ", "メ", "デジカメ"], "新しいデジカメとカメラを買う", [0, 1, 2]),
        (["ひらがな", "らが"], "これはひらがなです", [0, 1]),
        (["京都", "東京", "東京都"], "東京都の夜景", [0, 1, 2]),
        (["York", "New York", "New York City", "City"], "New York City", [0, 1, 2, 3]),
        (["a b", "b a"], "a b a b", [0, 1]),
        (["car"], "Car cars scar", []),
        (["Car", "car"], "a car", [1]),
        (["0", "5", "50"], "画像50枚", [2]),
        (["only"], "the only one", [0]),
        ([], "anything", []),
        (["", " ", "\u200d"], "anything at all", []),
        (["x", "", "car", "\t"], "a car", [2]),
        (["car"], "", []),
    ],
)
def test_match_of_known_traps_finds_what_a_reader_finds(entries, caption, expected):
    assert match_one(entries, caption) == expected


def test_match_of_entries_that_are_equal_after_normalising_reports_the_first_alone():
    entries = ["tea", "U.S.", "café", "U . S .", "cafe\u0301", "U.S.", " tea"]
    assert match_one(entries, "a U.S. café, tea") == [0, 1, 2]
    matcher = EntryMatcher.from_entries({"en": [*entries, "", "\t"]}, normaliser=Normaliser())
    vocabulary = matcher.vocabulary("en")
    assert vocabulary.num_duplicates == 4
    assert vocabulary.num_blank == 2
    assert vocabulary.entry_ids.tolist() == [0, 1, 2]
    assert matcher.vocabulary("en") is vocabulary


def test_match_counts_an_entry_once_however_often_it_occurs():
    assert match_one(["car", "a"], "a car, a car, a car") == [0, 1]


def test_match_gives_sorted_unique_int32_arrays_one_for_each_caption():
    matcher = EntryMatcher.from_entries({"en": ["c", "b", "a"]}, normaliser=Normaliser())
    got = matcher.match(["a b c", "", "c"], ["en", "en", "en"])
    assert [ids.tolist() for ids in got] == [[0, 1, 2], [], [0]]
    assert all(ids.dtype == np.int32 for ids in got)


def test_match_searches_only_the_entries_of_the_captions_language():
    matcher = EntryMatcher.from_entries({"en": ["gift", "art"], "de": ["art", "Gift"]}, normaliser=Normaliser())
    got = matcher.match(["gift art"] * 4, ["en", "de", "fr", "other"])
    assert [ids.tolist() for ids in got] == [[0, 1], [0], [], []]


def test_match_of_no_captions_is_empty():
    assert EntryMatcher.from_entries({}, normaliser=Normaliser()).match([], []) == []


def test_match_with_a_language_too_few_is_refused():
    matcher = EntryMatcher.from_entries({"en": ["a"]}, normaliser=Normaliser())
    with pytest.raises(ValueError, match="shorter"):
        matcher.match(["a", "b"], ["en"])


def test_match_of_one_caption_never_changes_what_others_get():
    matcher = EntryMatcher.from_entries({"en": ["a", "b"]}, normaliser=Normaliser())
    [found] = matcher.match(["a b"], ["en"])
    found[:] = 7
    assert matcher.match(["a b"], ["en"])[0].tolist() == [0, 1]


def table_of(entries):
    return pa.table([entries, ["import"] * len(entries), [0.0] * len(entries)], schema=ENTRIES)


def test_matcher_from_metadata_matches_as_one_from_entries(tmp_path):
    entries = {"en": ["car", "red", "car"], "ja": ["東京"], "de": []}
    local = fs.LocalFileSystem()
    write_metadata(local, f"{tmp_path}/m", {code: table_of(of) for code, of in entries.items()}, provenance={})
    stored = EntryMatcher.from_metadata(local, f"{tmp_path}/m", normaliser=Normaliser())
    direct = EntryMatcher.from_entries(entries, normaliser=Normaliser())
    texts, codes = ["a red car", "東京都", "rot", "x"], ["en", "ja", "de", "fr"]
    expected = [ids.tolist() for ids in direct.match(texts, codes)]
    assert expected == [[0, 1], [0], [], []]
    assert [ids.tolist() for ids in stored.match(texts, codes)] == expected


def test_matcher_from_metadata_reads_a_language_when_a_caption_needs_it(tmp_path):
    local = fs.LocalFileSystem()
    write_metadata(local, f"{tmp_path}/m", {"en": table_of(["car"]), "de": table_of(["rot"])}, provenance={})
    (tmp_path / "m" / "de.parquet").unlink()
    matcher = EntryMatcher.from_metadata(local, f"{tmp_path}/m", normaliser=Normaliser())
    assert matcher.match(["a car"], ["en"])[0].tolist() == [0]
    with pytest.raises(FileNotFoundError):
        matcher.match(["rot"], ["de"])


def test_matcher_from_metadata_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        EntryMatcher.from_metadata(fs.LocalFileSystem(), str(tmp_path), normaliser=Normaliser())


@given(
    st.lists(st.tuples(captions, st.sampled_from(["aa", "bb", "cc", "zz"])), max_size=12),
    st.dictionaries(st.sampled_from(["aa", "bb", "cc"]), st.lists(words, max_size=6)),
    engines,
)
def test_match_of_mixed_languages_equals_each_caption_alone(rows, entries, engine):
    normaliser = Normaliser()
    matcher = EntryMatcher.from_entries(entries, normaliser=normaliser, engine=engine)
    got = matcher.match([caption for caption, _ in rows], [language for _, language in rows])
    assert [ids.tolist() for ids in got] == [
        slow_match(entries.get(language, []), caption, normaliser) for caption, language in rows
    ]


def many_languages(*, num_languages=20, num_entries=60):
    return {f"l{code}": [f"w{code + step}" for step in range(num_entries)] for code in range(num_languages)}


def mixed_stream(num_captions, num_languages=20, *, seed=0):
    rng = np.random.default_rng(seed)
    texts = [" ".join(f"w{word}" for word in rng.integers(0, 80, 5)) for _ in range(num_captions)]
    return texts, [f"l{code}" for code in rng.integers(0, num_languages, num_captions)]


@pytest.mark.parametrize("engine", list(Engine))
def test_match_under_a_budget_equals_that_without_and_never_holds_more(engine):
    entries, normaliser = many_languages(), Normaliser()
    free = EntryMatcher.from_entries(entries, normaliser=normaliser, engine=engine)
    texts, languages = mixed_stream(400)
    expected = [ids.tolist() for ids in free.match(texts, languages)]
    assert free.num_reloads == 0
    budget = free.num_bytes // 4
    tight = EntryMatcher.from_entries(entries, normaliser=normaliser, engine=engine, budget_bytes=budget)
    got = []
    for start in range(0, 400, 100):
        got += [ids.tolist() for ids in tight.match(texts[start : start + 100], languages[start : start + 100])]
        assert 0 < tight.num_bytes <= budget
    assert got == expected
    assert 0 < tight.num_reloads <= 3 * 20  # at most once for each language and later batch


def test_match_under_a_budget_searches_what_is_in_memory_first():
    entries, normaliser = many_languages(num_languages=4), Normaliser()
    one = EntryMatcher.from_entries({"l0": entries["l0"]}, normaliser=normaliser)
    one.match(["x"], ["l0"])
    matcher = EntryMatcher.from_entries(entries, normaliser=normaliser, budget_bytes=one.num_bytes * 5 // 2)
    for _ in range(5):
        matcher.match(["x"] * 4, ["l0", "l1", "l2", "l3"])
    assert matcher.num_reloads == 4 * 2  # of four languages two are still there when the next batch comes


def test_match_with_a_budget_below_one_language_says_which_and_how_much():
    matcher = EntryMatcher.from_entries({"en": ["car"]}, normaliser=Normaliser(), budget_bytes=10)
    with pytest.raises(ValueError, match=r"en takes [0-9,]+ bytes, more than the budget of 10"):
        matcher.match(["a car"], ["en"])


def test_match_from_several_threads_under_a_budget_gives_the_same():
    entries, normaliser = many_languages(), Normaliser()
    free = EntryMatcher.from_entries(entries, normaliser=normaliser)
    texts, languages = mixed_stream(400)
    expected = [ids.tolist() for ids in free.match(texts, languages)]
    shared = EntryMatcher.from_entries(
        entries, normaliser=normaliser, engine=Engine.DAACHORSE, budget_bytes=free.num_bytes // 4
    )
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda start: shared.match(texts[start::8], languages[start::8]), range(8)))
    got = [parts[row % 8][row // 8].tolist() for row in range(400)]
    assert got == expected


@pytest.mark.parametrize("engine", list(Engine))
@pytest.mark.parametrize("mode", list(NormaliserMode))
def test_match_of_hostile_captions_is_defined(engine, mode):
    entries = ["car", "東京", "\u202ecar", "سيارة", "🚗", "\x00"]
    matcher = EntryMatcher.from_entries({"xx": entries}, normaliser=Normaliser(mode), engine=engine)
    hostile = ["", "\ud800", "\udfff car \ud800", "\0\x01\x7f", "\n\r\n", "\u202ecar\u202c", "سيارة", "\ufeffcar", "🚗"]
    got = [ids.tolist() for ids in matcher.match(hostile, ["xx"] * len(hostile))]
    assert got == [slow_match(entries, caption, Normaliser(mode)) for caption in hostile]


@pytest.mark.parametrize("engine", list(Engine))
def test_match_of_a_caption_of_ten_megabytes_leaves_its_neighbours_alone(engine):
    matcher = EntryMatcher.from_entries({"en": ["car", "a car"]}, normaliser=Normaliser(), engine=engine)
    got = matcher.match(["a car", "red car " * 1_250_000, "x" * 10_000_000, "car"], ["en"] * 4)
    assert [ids.tolist() for ids in got] == [[0, 1], [0], [], [0]]


def test_entry_ids_under_another_hash_seed_are_the_same():
    program = (
        "from metaclip_core.matching import EntryMatcher; from metaclip_core.text import Normaliser;"
        "entries = [f'w{i % 70}' for i in range(200)] + ['東京', 'U.S.', 'w1 w2'];"
        "matcher = EntryMatcher.from_entries({'en': entries}, normaliser=Normaliser());"
        "print([ids.tolist() for ids in matcher.match(['w1 w2 w69 w7 東京都 U.S. w1', 'w5'], ['en', 'en'])])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert outputs == {"[[1, 2, 7, 69, 200, 201, 202], [5]]\n"}
