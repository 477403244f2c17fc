import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.automata import base, double_array
from metaclip_core.automata.double_array import DoubleArray
from metaclip_core.automata.engines import Engine, automaton_type, stored_automaton
from metaclip_core.automata.hash_trie import HashTrie

# Few characters of one to four bytes, and a lone surrogate, so that patterns often occur.
ALPHABET = "ab éか東한😀\U00020000\ud800"
texts = st.lists(st.text(st.sampled_from(ALPHABET), max_size=30), max_size=6)
patterns = st.lists(
    st.text(st.sampled_from(ALPHABET), min_size=1, max_size=5).filter(str.strip), min_size=1, max_size=8, unique=True
)
engines = st.sampled_from(list(Engine))
stored_engines = st.sampled_from([Engine.DAACHORSE, Engine.HASH_TRIE])


def slow_find(many_patterns, text):
    return [index for index, pattern in enumerate(many_patterns) if pattern in text]


def listed(found):
    return [ids.tolist() for ids in np.split(found.ids, found.offsets[1:-1])] if len(found.offsets) > 1 else []


@given(patterns, texts, engines)
def test_find_of_any_patterns_equals_pythons_own_search(many_patterns, many_texts, engine):
    found = automaton_type(engine).build(many_patterns).find(many_texts)
    assert listed(found) == [slow_find(many_patterns, text) for text in many_texts]
    assert found.ids.dtype == np.int32
    assert found.offsets[-1] == len(found.ids)


@given(st.text(max_size=40), st.data(), engines)
def test_find_of_pieces_of_the_text_equals_pythons_own_search(text, data, engine):
    text = text.replace("\n", "").replace("\r", "")
    cuts = st.tuples(st.integers(0, len(text)), st.integers(0, len(text))).map(sorted)
    pieces = dict.fromkeys(text[start:end] for start, end in data.draw(st.lists(cuts, max_size=8)))
    many_patterns = [piece for piece in pieces if piece.strip(" ")] or ["x"]
    found = automaton_type(engine).build(many_patterns).find([text, ""])
    assert listed(found) == [slow_find(many_patterns, text), []]


@pytest.mark.parametrize("engine", list(Engine))
def test_find_in_many_texts_is_the_same_however_many_are_searched_at_once(engine, monkeypatch):
    rng = np.random.default_rng(0)
    many_texts = ["".join(rng.choice(list("ab cé"), 20)) for _ in range(200)]
    automaton = automaton_type(engine).build(["a", "ab", "b c", "é"])
    whole = listed(automaton.find(many_texts))
    monkeypatch.setattr(base, "_SEARCHED_CHARS", 70)
    assert listed(automaton.find(many_texts)) == whole


@pytest.mark.parametrize("engine", list(Engine))
def test_find_tells_a_pattern_that_ends_at_a_blank_from_one_that_does_not(engine):
    found = automaton_type(engine).build([" car ", "car", " car", "car "]).find([" car ", "scar ", " cars", "scars"])
    assert listed(found) == [[0, 1, 2, 3], [1, 3], [1, 2], [1]]


@given(patterns, texts, stored_engines)
def test_automaton_read_back_finds_the_same(many_patterns, many_texts, engine):
    built = automaton_type(engine).build(many_patterns)
    read = stored_automaton(engine, built.to_arrays())
    assert listed(read.find(many_texts)) == listed(built.find(many_texts))
    assert read.num_bytes == built.num_bytes


@given(st.data())
def test_double_array_damaged_is_refused_or_still_searches(data):
    [(kind, serialised)] = DoubleArray.build([" a ", "ab", "東京", "é"]).to_arrays().items()
    damaged = serialised[: data.draw(st.integers(0, len(serialised)))].copy()
    if len(damaged) and data.draw(st.booleans()):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        DoubleArray.from_arrays({kind: damaged}).find([" a ab 東京", ""])


@pytest.mark.parametrize(
    ("alphabet", "is_smaller"), [("abcdefgh", "bytes"), ("абвгдежз", "chars"), ("东京都市大学院生", "chars")]
)
def test_double_array_takes_the_smaller_kind(alphabet, is_smaller):
    rng = np.random.default_rng(0)
    many = sorted({"".join(rng.choice(list(alphabet), rng.integers(3, 9))) for _ in range(30_000)})
    taken = DoubleArray.build(many).num_bytes
    library = double_array.daachorse
    other = (
        library.CharwiseDoubleArrayAhoCorasick(many, use_prefilter=False)
        if is_smaller == "bytes"
        else library.DoubleArrayAhoCorasick([pattern.encode() for pattern in many], use_prefilter=False)
    )
    assert taken < len(other.serialize())


def test_engine_that_is_not_installed_names_what_to_install(monkeypatch):
    monkeypatch.setattr(double_array, "daachorse", None)
    with pytest.raises(ModuleNotFoundError, match=r"\.\[fast\]"):
        automaton_type(Engine.DAACHORSE).build(["a"])


def test_engine_that_could_only_be_pickled_is_never_stored():
    with pytest.raises(ValueError, match="pyahocorasick is never stored"):
        stored_automaton(Engine.PYAHOCORASICK, {})


@pytest.mark.parametrize("engine", list(Engine))
def test_num_bytes_grows_with_the_patterns(engine):
    few, many = (
        automaton_type(engine).build([f"w{word}" for word in range(count)]).num_bytes for count in (10, 10_000)
    )
    assert few * 10 < many


def test_hash_trie_takes_a_fifth_of_a_double_array():
    rng = np.random.default_rng(0)
    many = sorted({f" {''.join(rng.choice(list('etaoinshr'), rng.integers(4, 12)))} " for _ in range(20_000)})
    assert HashTrie.build(many).num_bytes * 5 < DoubleArray.build(many).num_bytes


def test_hash_trie_built_in_parts_is_the_same(monkeypatch):
    many = [f" w{number} w{number % 7} " for number in range(500)]
    whole = HashTrie.build(many).to_arrays()
    monkeypatch.setattr("metaclip_core.automata.hash_trie._BUILT_PATTERNS", 37)
    parts = HashTrie.build(many).to_arrays()
    assert all(np.array_equal(whole[name], parts[name]) for name in whole)


def test_hash_trie_of_equal_patterns_is_refused():
    with pytest.raises(ValueError, match="same hash"):
        HashTrie.build(["a", "a"])


def test_hash_trie_without_an_array_is_refused():
    arrays = HashTrie.build(["a"]).to_arrays()
    del arrays["keys"]
    with pytest.raises(ValueError, match="keys"):
        HashTrie.from_arrays(arrays)
