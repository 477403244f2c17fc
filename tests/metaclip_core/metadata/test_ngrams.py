import random
from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.metadata.ngrams import (
    BIGRAM_COUNTS,
    NGRAMS,
    BigramRanking,
    bigram_entries,
    totals,
    unigram_entries,
    write_runs,
)
from metaclip_core.records import SchemaError

LOCAL = fs.LocalFileSystem()


@pytest.fixture
def aggregated(tmp_path_factory):
    """Ask the totals of parts, each of them phrases, of which each is counted into a folder of its own."""

    def ask(parts, question, *, max_distinct=1000):
        root = tmp_path_factory.mktemp("ngrams")
        runs = []
        for number, part in enumerate(parts):
            folder = str(root / str(number))
            runs += [f"{folder}/{name}" for name in write_runs(part, LOCAL, folder, max_distinct=max_distinct).names]
        (root / "scratch").mkdir()
        with totals(LOCAL, runs, scratch=str(root / "scratch"), memory_bytes=200_000_000) as summed:
            return question(summed)

    return ask


def unigrams(summed, *, top_share=1.0, max_entries=1000, min_count=1):
    return unigram_entries(summed, top_share=top_share, max_entries=max_entries, min_count=min_count)


def bigrams(summed, language="en", *, ranking=BigramRanking.PMI, pmi_min=-100.0, max_entries=1000, min_count=1):
    return bigram_entries(
        summed, language, ranking=ranking, pmi_min=pmi_min, max_entries=max_entries, min_count=min_count
    )


def rows(table):
    assert table.schema == NGRAMS
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def random_phrases(seed, *, num_phrases=400, num_words=30):
    generator = random.Random(seed)  # noqa: S311  no secret
    vocabulary = [f"w{i}" for i in range(num_words)]
    weights = [1 / (i + 1) for i in range(num_words)]
    return [generator.choices(vocabulary, weights, k=generator.randrange(1, 9)) for _ in range(num_phrases)]


def dense_pmi(phrases):
    """(first, second) → (PMI in bits, count), by matrices."""
    vocabulary = sorted({word for phrase in phrases for word in phrase})
    number = {word: i for i, word in enumerate(vocabulary)}
    together = np.zeros((len(vocabulary), len(vocabulary)))
    for phrase in phrases:
        np.add.at(
            together, tuple(np.array([[number[a], number[b]] for a, b in pairwise(phrase)], int).reshape(-1, 2).T), 1
        )
    alone = np.bincount([number[word] for phrase in phrases for word in phrase]).astype(float)
    with np.errstate(divide="ignore"):
        pmi = np.log2(together) + np.log2(alone.sum()) - np.log2(alone)[:, None] - np.log2(alone)[None, :]
    return {
        (vocabulary[a], vocabulary[b]): (pmi[a, b], int(together[a, b]))
        for a, b in zip(*np.nonzero(together), strict=True)
    }


def test_counts_by_hand(aggregated):
    parts = [[["a", "b", "a"], ["b"]], [["a", "b"]]]  # N = 6, a: 3, b: 3, ab: 2, ba: 1
    assert rows(aggregated(parts, unigrams)) == [("a", 3.0, 3), ("b", 3.0, 3)]
    assert rows(aggregated(parts, bigrams)) == [
        ("a b", round(np.log2(2 * 6 / 9), 6), 2),
        ("b a", round(np.log2(1 * 6 / 9), 6), 1),
    ]


@pytest.mark.parametrize("min_count", [1, 3])
def test_pmi_is_that_of_a_dense_matrix(aggregated, min_count):
    phrases = random_phrases(1)
    found = rows(aggregated([phrases], lambda summed: bigrams(summed, min_count=min_count, pmi_min=0.5)))
    expected = {
        " ".join(pair): pytest.approx((pmi, count), abs=1e-6)
        for pair, (pmi, count) in dense_pmi(phrases).items()
        if count >= min_count and pmi > 0.5
    }
    assert {entry: (score, count) for entry, score, count in found} == expected
    assert found == sorted(found, key=lambda row: (-row[1], row[0]))


@pytest.mark.parametrize("min_count", [1, 2])
def test_weighted_score_is_that_of_a_dense_matrix(aggregated, min_count):
    phrases = random_phrases(2)
    kept = {pair: found for pair, found in dense_pmi(phrases).items() if found[1] >= min_count}
    base = np.quantile([pmi for pmi, _ in kept.values()], 0.3, method="inverted_cdf")
    scores = {" ".join(pair): (count + 1) ** 0.7 * (pmi - base) for pair, (pmi, count) in kept.items()}
    found = aggregated([phrases], lambda summed: bigrams(summed, ranking=BigramRanking.WEIGHTED, min_count=min_count))
    assert {entry: score for entry, score, _ in rows(found)} == {
        entry: pytest.approx(score, abs=1e-4) for entry, score in scores.items() if score > 1e-5
    }


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 100), num_parts=st.integers(1, 5), max_distinct=st.integers(1, 300), shuffle=st.integers(0, 99)
)
def test_no_split_order_or_size_of_counters_changes_the_result(aggregated, seed, num_parts, max_distinct, shuffle):
    def ask(summed):
        return unigrams(summed), bigrams(summed), bigrams(summed, ranking=BigramRanking.WEIGHTED)

    phrases = random_phrases(seed, num_phrases=60)
    whole = aggregated([phrases], ask)
    shuffled = random.Random(shuffle).sample(phrases, len(phrases))  # noqa: S311  no secret
    parts = [shuffled[number::num_parts] for number in range(num_parts)]
    assert aggregated(parts, ask, max_distinct=max_distinct) == whole


def test_bigrams_never_go_from_one_phrase_to_the_next(aggregated):
    assert rows(aggregated([[["a", "b"], ["c"], []]], bigrams)) == [("a b", pytest.approx(np.log2(3), abs=1e-6), 1)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"top_share": 0.1}, ["w00"]),  # of 10 words
        ({"top_share": 0.11}, ["w00", "w01"]),
        ({"top_share": 0.3}, ["w00", "w01", "w02"]),
        ({"max_entries": 2}, ["w00", "w01"]),
        ({"min_count": 9}, ["w00", "w01"]),
        ({"min_count": 100}, []),
    ],
)
def test_unigrams_are_the_top_by_count(aggregated, limits, expected):
    phrases = [[f"w{i:02}"] * (10 - i) for i in range(10)]
    assert aggregated([phrases], lambda summed: unigrams(summed, **limits))["entry"].to_pylist() == expected


def test_ties_go_by_code_points(aggregated):
    names = ["z", "é", "Z", "😀x", "\uffee", "a"]
    assert aggregated([[[name] for name in names]], unigrams)["entry"].to_pylist() == sorted(names)


def test_pmi_has_to_exceed_its_bound_and_the_best_are_kept(aggregated):
    parts = [[["a", "b"], ["c", "d"], ["e", "e"], ["e", "e"]]]  # N = 8: ab and cd 3 bits, ee 2 · 8 / 16 = 0 bits
    assert rows(aggregated(parts, lambda summed: bigrams(summed, pmi_min=2.9))) == [
        ("a b", 3, 1),
        ("c d", 3, 1),
    ]
    assert rows(aggregated(parts, lambda summed: bigrams(summed, pmi_min=3))) == []
    assert rows(aggregated(parts, lambda summed: bigrams(summed, max_entries=1))) == [("a b", 3, 1)]


def test_two_readings_of_one_entry_are_one_row(aggregated):
    parts = [[["東京", "都"], ["東京", "都"], ["東", "京都"], ["都"]]]  # N = 7: log2(2 · 7 / (2 · 3)), log2(7)
    assert rows(aggregated(parts, lambda summed: bigrams(summed, "ja"))) == [("東京都", round(np.log2(7), 6), 3)]


def test_syllables_are_joined_by_the_tsheg(aggregated):
    assert rows(aggregated([[["བོད", "སྐད"]]], lambda summed: bigrams(summed, "bo"))) == [("བོད་སྐད", 1.0, 1)]


def test_no_words_give_no_entries(aggregated):
    def ask(summed):
        return unigrams(summed), bigrams(summed), bigrams(summed, ranking=BigramRanking.WEIGHTED)

    assert [table.num_rows for table in aggregated([[]], ask)] == [0, 0, 0]


def test_writing_again_replaces_what_was_begun(tmp_path):
    folder = str(tmp_path / "part")
    write_runs([["a", "b"]] * 10, LOCAL, folder, max_distinct=1)
    runs = write_runs([["c"]], LOCAL, folder, max_distinct=10)
    assert sorted(path.name for path in (tmp_path / "part").iterdir()) == [
        "bigrams-00000.parquet",
        "unigrams-00000.parquet",
    ]
    assert sorted(runs.names) == ["bigrams-00000.parquet", "unigrams-00000.parquet"]
    assert runs.num_words == 1


def test_a_counter_holds_few_more_keys_than_it_may(tmp_path):
    write_runs([[f"{i}a", f"{i}b"] for i in range(100)], LOCAL, str(tmp_path / "part"), max_distinct=30)
    sizes = [pq.read_table(path).num_rows for path in (tmp_path / "part").glob("*.parquet")]
    assert max(sizes) <= 30
    assert sum(sizes) == 300


def test_a_file_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "part").mkdir()
    run = str(tmp_path / "part" / "bigrams-00000.parquet")
    pq.write_table(pa.table({"word": [1]}), run)
    with (
        pytest.raises(SchemaError, match=BIGRAM_COUNTS.names[0]),
        totals(LOCAL, [run], scratch=str(tmp_path / "scratch"), memory_bytes=200_000_000),
    ):
        pass


def test_more_keys_than_memory_are_added_up_on_disk(tmp_path):
    keys = Counter({f"{i * 7919 % 1_000_003:030}": i % 3 + 1 for i in range(400_000)})
    table = pa.table([list(keys), list(keys.values())], names=["word", "count"])
    runs = [str(tmp_path / f"unigrams-{number:05}.parquet") for number in range(2)]
    for run in runs:
        pq.write_table(table, run)
    (tmp_path / "scratch").mkdir()
    with totals(LOCAL, runs, scratch=str(tmp_path / "scratch"), memory_bytes=32_000_000) as summed:
        found = unigrams(summed, max_entries=400_000, min_count=5)
    assert dict(zip(found["entry"].to_pylist(), found["count"].to_pylist(), strict=True)) == {
        word: 2 * count for word, count in keys.items() if 2 * count >= 5
    }
