import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core import automata
from metaclip_core.automata import Daachorse, Engine, automaton_of

# Few characters of one to four bytes, and a lone surrogate, so that patterns often occur.
ALPHABET = "ab éか東한😀\U00020000\ud800"
texts = st.lists(st.text(st.sampled_from(ALPHABET), max_size=30), max_size=6)
patterns = st.lists(st.text(st.sampled_from(ALPHABET), min_size=1, max_size=4), min_size=1, max_size=8, unique=True)
engines = st.sampled_from(list(Engine))


def slow_find(many_patterns, text):
    return [index for index, pattern in enumerate(many_patterns) if pattern in text]


def listed(found):
    return [ids.tolist() for ids in np.split(found.ids, found.offsets[1:-1])] if len(found.offsets) > 1 else []


@given(patterns, texts, engines)
def test_find_of_any_patterns_equals_pythons_own_search(many_patterns, many_texts, engine):
    found = automaton_of(engine, many_patterns).find(many_texts)
    assert listed(found) == [slow_find(many_patterns, text) for text in many_texts]
    assert found.ids.dtype == np.int32
    assert found.offsets[-1] == len(found.ids)


@pytest.mark.parametrize("engine", list(Engine))
def test_find_in_many_texts_is_the_same_however_many_are_searched_at_once(engine, monkeypatch):
    rng = np.random.default_rng(0)
    many_texts = ["".join(rng.choice(list("ab cé"), 20)) for _ in range(200)]
    automaton = automaton_of(engine, ["a", "ab", "b c", "é"])
    whole = listed(automaton.find(many_texts))
    monkeypatch.setattr(automata, "_SEARCHED_CHARS", 70)
    assert listed(automaton.find(many_texts)) == whole


@given(patterns, texts)
def test_daachorse_read_back_finds_the_same(many_patterns, many_texts):
    built = Daachorse.build(many_patterns)
    read = Daachorse(built.serialise())
    assert listed(read.find(many_texts)) == listed(built.find(many_texts))
    assert read.num_bytes == built.num_bytes


@given(st.data())
def test_daachorse_damaged_is_refused_or_still_searches(data):
    whole = bytearray(Daachorse.build([" a ", "ab", "東京", "é"]).serialise())
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        damaged = whole.copy()
        damaged[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(ValueError):
        Daachorse(bytes(damaged)).find([" a ab 東京", ""])


@pytest.mark.parametrize(
    ("alphabet", "is_smaller"), [("abcdefgh", "bytes"), ("абвгдежз", "chars"), ("东京都市大学院生", "chars")]
)
def test_daachorse_takes_the_smaller_kind_of_automaton(alphabet, is_smaller):
    rng = np.random.default_rng(0)
    many = sorted({"".join(rng.choice(list(alphabet), rng.integers(3, 9))) for _ in range(30_000)})
    taken = Daachorse.build(many).num_bytes
    other = (
        automata.daachorse.CharwiseDoubleArrayAhoCorasick(many, use_prefilter=False)
        if is_smaller == "bytes"
        else automata.daachorse.DoubleArrayAhoCorasick([pattern.encode() for pattern in many], use_prefilter=False)
    )
    assert taken < len(other.serialize())


def test_engine_that_is_not_installed_names_what_to_install(monkeypatch):
    monkeypatch.setattr(automata, "daachorse", None)
    with pytest.raises(ModuleNotFoundError, match=r"worldwide-clip\[fast\]"):
        automaton_of(Engine.DAACHORSE, ["a"])


@pytest.mark.parametrize("engine", list(Engine))
def test_num_bytes_grows_with_the_patterns(engine):
    few, many = (automaton_of(engine, [f"w{word}" for word in range(count)]).num_bytes for count in (10, 10_000))
    assert few * 10 < many
