import hashlib
import itertools
import math
import os
import subprocess
import sys
import unicodedata
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.metadata.merge import Colons, Combine, SourceLimits, merge, merge_languages, ranked, union
from metaclip_core.metadata.store import ENTRIES, OFFERED
from metaclip_core.records import SchemaError

LIMITS = [
    SourceLimits(name="number"),
    SourceLimits(name="wordnet"),
    SourceLimits(name="unigram", min_score=2, share=0.5, cap=3),
    SourceLimits(name="bigram", combine=Combine.MAX),
    SourceLimits(name="title", cap=4, colons=Colons.DROP),
]


def offered(*rows):
    entries, scores = zip(*rows, strict=True) if rows else ((), ())
    return pa.table([pa.array(entries, pa.string()), pa.array(scores, pa.float64())], schema=OFFERED)


def entries_of(merged, source=None):
    rows = merged.table.to_pylist()
    return [row["entry"] for row in rows if source in {None, row["source"]}]


def is_punctuation(character):
    category = unicodedata.category(character)
    return category[0] in "PZ" or category == "Cf" or character in "\t\n\x0c\r $+<=>^`|~"


def is_dropped(entry, limit):
    return (
        all(map(is_punctuation, entry))
        or any(unicodedata.category(character) == "Cc" for character in entry)
        or len(entry) > limit.max_chars
        or (":" in entry and limit.colons is Colons.DROP)
    )


def slow_merge(offers, limits):
    """The steps of the module, one entry at a time."""
    rows = []
    for limit in limits:
        scores = {}
        for entry, score in itertools.chain(*offers.get(limit.name, [])):
            known = scores.get(entry.strip())
            both = score if known is None else known + score if limit.combine is Combine.SUM else max(known, score)
            scores[entry.strip()] = both
        candidates = [
            (entry, score)
            for entry, score in scores.items()
            if not is_dropped(entry, limit) and score >= limit.min_score
        ]
        candidates.sort(key=lambda row: (-row[1], row[0]))
        if limit.name == "number":
            candidates = [(str(number), 0.0) for number in range(100)]
        best = candidates[: math.ceil(Fraction(str(limit.share)) * len(candidates))]
        seen = {entry for entry, _, _ in rows}
        new = [(entry, limit.name, score) for entry, score in best if entry not in seen]
        rows += new if limit.cap is None else new[: limit.cap]
    return rows


# Few letters, so that entries meet; marks and blanks of every rule.
TEXTS = st.text(st.sampled_from("abB:.,-+€日、\u200b \u00a0\u3000\t\x00é7"), max_size=5)
ROWS = st.lists(st.tuples(TEXTS, st.integers(0, 5).map(float)), max_size=25)
OFFERS = st.fixed_dictionaries(
    {}, optional={name: st.lists(ROWS, max_size=2) for name in ("wordnet", "unigram", "bigram", "title")}
)
ANY_LIMITS = st.tuples(
    *(
        st.builds(
            SourceLimits,
            name=st.just(name),
            min_score=st.sampled_from([-math.inf, 1.0, 3.0]),
            share=st.sampled_from([0.0, 0.1, 0.3, 0.76, 1.0]),
            cap=st.sampled_from([None, 0, 1, 5]),
            combine=st.sampled_from(Combine),
            colons=st.sampled_from(Colons),
            max_chars=st.sampled_from([2, 256]),
        )
        for name in ("wordnet", "unigram", "bigram", "title")
    )
)


@settings(max_examples=300)
@given(OFFERS, ANY_LIMITS, st.permutations(range(4)))
def test_merge_agrees_with_the_slow_one(offers, any_limits, order):
    limits = [SourceLimits(name="number"), *(any_limits[place] for place in order)]
    merged = merge({name: [offered(*rows) for rows in tables] for name, tables in offers.items()}, limits)
    assert merged.table.schema == ENTRIES
    assert [tuple(row.values()) for row in merged.table.to_pylist()] == slow_merge(offers, limits)
    for name, statistics in merged.sources.items():
        assert statistics.offered == statistics.kept + sum(statistics.dropped.values())
        assert statistics.kept == len(entries_of(merged, name))


def test_numbers_come_first_in_their_order_without_being_offered():
    merged = merge({}, LIMITS)
    assert entries_of(merged) == [str(number) for number in range(100)]
    assert merged.sources["number"].kept == 100


def test_the_first_source_wins():
    offers = {
        "title": [offered(("cat", 9.0), ("7", 9.0), ("Cat", 1.0))],
        "bigram": [offered(("cat", 5.0), ("big cat", 4.0))],
        "wordnet": [offered(("cat", 1.0))],
    }
    merged = merge(offers, LIMITS)
    assert entries_of(merged)[100:] == ["cat", "big cat", "Cat"]
    assert merged.sources["title"].dropped == {"duplicate": 2}


def test_every_reason_is_counted():
    bad = ["", " \u3000", "\u200b", "…!?", "$", "a\tb", "x" * 257, "Talk:Cat", "cat ", "cat", "€", "♥", "x" * 256]
    merged = merge({"title": [offered(*((entry, 1.0) for entry in bad))]}, LIMITS)
    assert merged.sources["title"].dropped == {
        "repeated": 2,  # the blank ones, and cats
        "blank": 2,
        "punctuation": 2,
        "control": 1,
        "over_limit": 1,
        "colon": 1,
    }
    assert entries_of(merged, "title") == ["cat", "x" * 256, "€", "♥"]


def test_colons_stay_in_sources_other_than_titles():
    assert entries_of(merge({"wordnet": [offered(("a:b", 1.0))]}, LIMITS), "wordnet") == ["a:b"]


def test_scores_of_variants_add_up_before_the_ranking():
    offers = {"unigram": [offered(("a", 3.0), ("b", 4.0)), offered(("a", 3.0), ("c", 1.0)), offered()]}
    merged = merge(offers, LIMITS)
    assert entries_of(merged, "unigram") == ["a"]  # b is in the lower half, c below the minimum
    assert merged.table.to_pylist()[-1] == {"entry": "a", "source": "unigram", "score": 6.0}


def test_highest_score_of_variants_stays_where_they_do_not_add_up():
    merged = merge({"bigram": [offered(("a b", 31.0)), offered(("a b", 35.0))]}, LIMITS)
    assert merged.table.to_pylist()[-1]["score"] == 35.0


def test_a_cap_counts_what_a_source_adds_and_says_whether_it_was_reached():
    titles = offered(*((f"t{number}", float(number)) for number in range(6)))
    full = merge({"wordnet": [offered(("t5", 1.0), ("t4", 1.0))], "title": [titles]}, LIMITS)
    assert entries_of(full, "title") == ["t3", "t2", "t1", "t0"]
    assert not full.sources["title"].cap_reached
    cut = merge({"title": [titles]}, LIMITS)
    assert entries_of(cut, "title") == ["t5", "t4", "t3", "t2"]
    assert cut.sources["title"].cap_reached


@pytest.mark.parametrize(("share", "number", "kept"), [(0.1, 30, 3), (0.1, 31, 4), (0.76, 100, 76), (0.1, 1, 1)])
def test_a_share_is_exact_and_takes_at_least_one(share, number, kept):
    limits = [SourceLimits(name="unigram", share=share)]
    merged = merge({"unigram": [offered(*((f"w{place}", 1.0) for place in range(number)))]}, limits)
    assert merged.table.num_rows == kept


def test_equal_scores_rank_by_code_point():
    rows = [("é", 1.0), ("b", 1.0), ("日", 1.0), ("B", 1.0), ("𝒳", 1.0), ("a", 2.0)]
    for order in itertools.islice(itertools.permutations(rows), 0, None, 97):
        assert ranked(offered(*order))["entry"].to_pylist() == ["a", "B", "b", "é", "日", "𝒳"]


def test_entries_equal_only_to_the_matcher_all_stay():
    offers = {"wordnet": [offered(("caf\u00e9", 1.0), ("cafe\u0301", 1.0))]}
    assert len(entries_of(merge(offers, LIMITS), "wordnet")) == 2


def test_a_source_without_limits_is_refused():
    with pytest.raises(ValueError, match="need limits"):
        merge({"emoji": []}, LIMITS)
    with pytest.raises(ValueError, match="each once"):
        merge({}, [*LIMITS, SourceLimits(name="title")])


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"share": -0.1}, {"cap": -1}, {"share": math.nan}])
def test_impossible_limits_are_refused(wrong):
    with pytest.raises(ValueError, match="title: share"):
        SourceLimits(name="title", **wrong)


def test_an_offer_of_another_schema_is_refused_with_its_source():
    with pytest.raises(SchemaError, match="merge of title"):
        merge({"title": [pa.table({"entry": ["a"]})]}, LIMITS)


def test_union_has_every_entry_once_by_source_and_language():
    tables = {
        "nap": merge({"wordnet": [offered(("b", 1.0))], "title": [offered(("x", 1.0))]}, LIMITS).table,
        "ace": merge({"title": [offered(("b", 9.0), ("c", 2.0))]}, LIMITS).table,
    }
    united = union(tables, LIMITS)
    assert united.schema == ENTRIES
    assert [(row["entry"], row["source"]) for row in united.to_pylist()[100:]] == [
        ("b", "wordnet"),
        ("c", "title"),
        ("x", "title"),
    ]
    assert united["entry"].to_pylist()[:100] == [str(number) for number in range(100)]
    assert union(dict(reversed(tables.items())), LIMITS) == united


def test_union_of_nothing_is_empty():
    assert union({}, LIMITS).num_rows == 0


def test_union_of_an_unknown_source_is_refused():
    table = pa.table([["a"], ["import"], [0.0]], schema=ENTRIES)
    with pytest.raises(ValueError, match="'import'"):
        union({"en": table}, LIMITS)


PROGRAM = """
import hashlib, pyarrow as pa
from metaclip_core.metadata.merge import SourceLimits, merge
from metaclip_core.metadata.store import OFFERED
words = [chr(97 + n % 26) + str(n * 7919 % 5003) for n in range(20000)]
parts = words[:9000], words[9000:]
tables = [pa.table([part, [float(len(word)) for word in part]], schema=OFFERED) for part in parts]
limits = [SourceLimits(name="number"), SourceLimits(name="unigram", share=0.9), SourceLimits(name="title")]
merged = merge({"title": tables, "unigram": tables[:1]}, limits)
print(hashlib.sha256("\\n".join(merged.table["entry"].to_pylist()).encode()).hexdigest())
"""


def test_entry_ids_are_the_same_under_any_hash_seed():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("0", "1", "4242")
    }
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 2 * hashlib.sha256().digest_size


@given(
    st.dictionaries(st.sampled_from(["de", "en", "fr"]), st.lists(st.sampled_from("abcdef"), unique=True), min_size=1)
)
def test_languages_merge_into_one_list_with_each_entry_once(entries):
    tables = {
        language: pa.table([words, [language] * len(words), [0.0] * len(words)], schema=ENTRIES)
        for language, words in entries.items()
    }
    expected = {}
    for language, words in entries.items():
        for word in words:
            expected.setdefault(word, language)
    merged = merge_languages(tables)
    assert dict(zip(merged["entry"].to_pylist(), merged["source"].to_pylist(), strict=True)) == expected
    assert merged["entry"].to_pylist() == list(expected)
