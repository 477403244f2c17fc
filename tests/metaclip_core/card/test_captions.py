import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.card.captions import MAX_LENGTH, NUM_SCORE_BINS, CaptionSums
from metaclip_core.records import SAMPLED

captions = st.fixed_dictionaries(
    {
        "kind": st.sampled_from(["alt", "title", "日本語"]),
        "text": st.text(st.sampled_from("aé日🐶"), min_size=1, max_size=40),
        "language": st.sampled_from(["en", "ja", "other"]),
        "language_score": st.floats(0, 1, width=32),
        "entry_ids": st.lists(st.integers(0, 9), max_size=2),
    }
)
pairs = st.lists(
    st.fixed_dictionaries(
        {"captions": st.lists(captions, min_size=1, max_size=4), "inclusion": st.sampled_from([1.0, 0.5, 0.01])}
    ),
    max_size=30,
)


def sampled(rows):
    missing = {field.name: pa.nulls(len(rows), field.type) for field in SAMPLED}
    given_columns = {
        name: pa.array([row[name] for row in rows], SAMPLED.field(name).type) for name in ("captions", "inclusion")
    }
    return pa.table({**missing, **given_columns}, schema=SAMPLED)


def sums_of(rows, *, parts=1):
    sums = CaptionSums()
    for part in range(parts):
        if of_part := rows[part::parts]:
            sums.add(sampled(of_part))
    return sums


def weighted(rows, **where):
    """(caption, weight) of the captions that are as asked."""
    return [
        (caption, 1 / row["inclusion"])
        for row in rows
        for caption in row["captions"]
        if all(caption[key] == value for key, value in where.items())
    ]


def total(found):
    return sum(weight for _, weight in found)


def slow_quantile(found, share):
    """The length up to which a share of the weight lies, by a sorted list."""
    reached = 0.0
    for length, weight in sorted((len(caption["text"]), weight) for caption, weight in found):
        reached += weight
        if reached >= share * total(found) * (1 - 1e-9):
            return length
    raise AssertionError


def assert_facts(facts, found):
    whole = total(found)
    assert facts.sampled == len(found)
    assert facts.captions == pytest.approx(whole)
    assert facts.matched_share == pytest.approx(total([f for f in found if f[0]["entry_ids"]]) / whole)
    assert facts.mean_score == pytest.approx(sum(c["language_score"] * weight for c, weight in found) / whole)
    assert facts.lengths == [slow_quantile(found, share) for share in (0.05, 0.5, 0.95)]
    assert sum(facts.scores.shares) == pytest.approx(1)
    for index, share in enumerate(facts.scores.shares):
        in_bin = [f for f in found if min(int(f[0]["language_score"] * NUM_SCORE_BINS), NUM_SCORE_BINS - 1) == index]
        assert share == pytest.approx(total(in_bin) / whole)


@given(pairs)
def test_facts_of_any_sample_are_those_of_a_loop_over_its_captions(rows):
    sums = sums_of(rows)
    by_language = sums.by_language()
    assert set(by_language) == {caption["language"] for caption, _ in weighted(rows)}
    for language, facts in by_language.items():
        assert_facts(facts, weighted(rows, language=language))
    if rows:
        assert_facts(sums.of_all(), weighted(rows))
    for kind in sums.by_kind(limit=9):
        found = weighted(rows, kind=kind.kind)
        assert kind.sampled == len(found)
        assert kind.share == pytest.approx(total(found) / total(weighted(rows)))
        assert kind.matched_share == pytest.approx(total([f for f in found if f[0]["entry_ids"]]) / total(found))
        assert kind.mean_length == pytest.approx(sum(len(c["text"]) * weight for c, weight in found) / total(found))
    assert sums.num_kinds == len({caption["kind"] for caption, _ in weighted(rows)})


@given(pairs, st.integers(2, 5))
def test_facts_do_not_depend_on_how_the_sample_is_split(rows, parts):
    split, whole = sums_of(rows, parts=parts), sums_of(rows)
    assert split.lengths().shares == pytest.approx(whole.lengths().shares)
    assert [kind.kind for kind in split.by_kind(limit=2)] == [kind.kind for kind in whole.by_kind(limit=2)]
    for language, facts in split.by_language().items():
        assert facts.lengths == whole.by_language()[language].lengths
        assert facts.captions == pytest.approx(whole.by_language()[language].captions)


def of_length(*lengths):
    caption = {"kind": "alt", "language": "en", "language_score": 1.0, "entry_ids": []}
    return [{"captions": [{**caption, "text": "x" * length}], "inclusion": 1.0} for length in lengths]


def test_lengths_stand_in_bins_as_wide_as_all_before():
    histogram = sums_of(of_length(1, 2, 3, 4, 7, 8, 1_024, 5_000)).lengths()
    assert histogram.edges == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]
    assert histogram.shares == [1 / 8, 2 / 8, 2 / 8, 1 / 8, 0, 0, 0, 0, 0, 0, 2 / 8]


def test_long_captions_count_as_the_longest_told_apart():
    assert sums_of(of_length(5_000)).of_all().lengths == [MAX_LENGTH] * 3


def test_kinds_of_a_hostile_pool_are_cut_and_few_are_shown():
    rows = of_length(*[3] * 50)
    for number, row in enumerate(rows):
        row["captions"][0]["kind"] = f"{number:02}" + "k" * 10_000
    sums = sums_of(rows)
    shown = sums.by_kind(limit=7)
    assert (len(shown), sums.num_kinds) == (7, 50)
    assert max(len(kind.kind) for kind in shown) == 40


def test_sample_of_no_captions_has_facts_without_numbers():
    sums = CaptionSums()
    sums.add(sampled([]))
    facts = sums.of_all()
    assert (facts.sampled, facts.captions, facts.matched_share, facts.lengths) == (0, 0.0, 0.0, [0, 0, 0])
    assert not np.any(facts.scores.shares)
    assert sums.by_kind(limit=3) == []
