import hashlib
import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.balancing import entry_probabilities, pair_probability
from metaclip_core.draws import Purpose, uniform_scalar
from metaclip_core.records import ANNOTATED
from metaclip_core.sampling import ProbabilityTables, candidates, draw, expected_kept

COUNTS = {"de": np.array([3, 1, 400, 90]), "en": np.array([5000, 2, 30]), "ja": np.array([7]), "fr": np.array([9, 9])}
T = {"de": 20, "en": 3, "ja": 7}  # French has no threshold
TABLES = ProbabilityTables(COUNTS, T)
LANGUAGES = ["de", "en", "fr", "ja", "other"]


def pair_id_of(number):
    return hashlib.sha224(str(number).encode()).hexdigest()[:24]


@st.composite
def captions(draw):
    language = draw(st.sampled_from(LANGUAGES))
    size = len(COUNTS.get(language, []))
    entry_ids = draw(st.sets(st.integers(0, size - 1))) if size else set()
    return {"kind": "alt", "language": language, "language_score": 0.5, "entry_ids": sorted(entry_ids)}


rows_of_captions = st.lists(st.lists(captions(), max_size=4), max_size=12)


def table_of(rows, *, first=0):
    """A table of ANNOTATED; texts are unique, so that a caption is known by its text."""
    records = [
        {
            "pair_id": pair_id_of(first + number),
            "shard": 0,
            "row": number,
            "captions": [{**caption, "text": f"{number}/{i}"} for i, caption in enumerate(captions_of_row)],
            "image_offset": 0,
            "image_length": 1,
        }
        for number, captions_of_row in enumerate(rows)
    ]
    return pa.Table.from_pylist(records, ANNOTATED)


def probability_of(caption):
    """The obvious form: one caption, one language, one loop."""
    if caption["language"] not in T:
        return 0.0
    return pair_probability(
        entry_probabilities(COUNTS[caption["language"]], T[caption["language"]]), caption["entry_ids"]
    )


def slow_draw(table, *, epoch, seed):
    """(pair id, text, language) of each kept pair, in order; a text ends in its place among those of the pair."""
    kept = []
    for record in table.to_pylist():
        matched = [caption for caption in record["captions"] or [] if probability_of(caption) > 0]
        if not matched:
            continue
        which = uniform_scalar(record["pair_id"], purpose=Purpose.CAPTION, epoch=epoch, seed=seed)
        caption = matched[int(which * len(matched))]
        if uniform_scalar(record["pair_id"], purpose=Purpose.KEEP, epoch=epoch, seed=seed) < probability_of(caption):
            kept.append((record["pair_id"], caption["text"], caption["language"]))
    return kept


def drawn(table, *, epoch=0, seed=0):
    result = draw(table, TABLES, epoch=epoch, seed=seed)
    ids = table["pair_id"].to_pylist()
    rows = result.row.tolist()
    assert rows == sorted(set(rows))
    assert [f"{row}/{i}" for row, i in zip(rows, result.caption_index, strict=True)] == [
        f"{row}/{text.rpartition('/')[2]}" for row, text in zip(rows, result.caption.to_pylist(), strict=True)
    ]
    return list(zip([ids[row] for row in rows], result.caption.to_pylist(), result.language.to_pylist(), strict=True))


@settings(deadline=None, max_examples=60)
@given(rows_of_captions, st.integers(0, 10**6), st.integers(-5, 2**40))
def test_draw_of_any_table_equals_the_loop_over_its_rows(rows, epoch, seed):
    table = table_of(rows)
    assert drawn(table, epoch=epoch, seed=seed) == slow_draw(table, epoch=epoch, seed=seed)


@settings(deadline=None, max_examples=60)
@given(rows_of_captions)
def test_candidates_of_any_table_are_its_matched_captions_with_their_probabilities(rows):
    found = candidates(table_of(rows), TABLES)
    expected = [
        (number, f"{number}/{i}", caption["language"], probability_of(caption))
        for number, of_row in enumerate(rows)
        for i, caption in enumerate(of_row)
        if probability_of(caption) > 0
    ]
    assert found.row.tolist() == [row for row, *_ in expected]
    assert found.text.to_pylist() == [text for _, text, *_ in expected]
    assert found.language.to_pylist() == [language for *_, language, _ in expected]
    assert found.probability.tolist() == pytest.approx([p for *_, p in expected], rel=1e-12)
    per_row = Counter(found.row.tolist())
    assert dict(zip(found.row[found.first].tolist(), found.per_row.tolist(), strict=True)) == per_row


@settings(deadline=None, max_examples=60)
@given(rows_of_captions, st.randoms(use_true_random=False))
def test_draw_of_shuffled_rows_keeps_the_same_pairs_with_the_same_captions(rows, random):
    table = table_of(rows)
    order = list(range(table.num_rows))
    random.shuffle(order)
    assert sorted(drawn(table.take(pa.array(order, pa.int64())))) == sorted(drawn(table))


@settings(deadline=None, max_examples=60)
@given(rows_of_captions, st.lists(st.integers(0, 12), max_size=3))
def test_draw_of_a_table_in_parts_keeps_what_the_whole_keeps(rows, cuts):
    table = table_of(rows)
    edges = sorted({0, table.num_rows, *(min(cut, table.num_rows) for cut in cuts)})
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]  # slices share their buffers
    assert [pair for part in parts for pair in drawn(part)] == drawn(table)
    if parts:
        chunked = pa.concat_tables(parts)
        assert chunked["captions"].num_chunks == len(parts)
        assert drawn(chunked) == drawn(table)
        assert expected_kept(chunked, TABLES) == pytest.approx(expected_kept(table, TABLES))


@settings(deadline=None, max_examples=60)
@given(rows_of_captions, st.integers(0, 12), st.integers(0, 12))
def test_draw_of_a_slice_equals_the_draw_of_a_fresh_table_with_those_rows(rows, start, length):
    sliced = table_of(rows).slice(start, length)
    fresh = pa.Table.from_pylist(sliced.to_pylist(), ANNOTATED)
    assert drawn(sliced) == drawn(fresh)
    assert expected_kept(sliced, TABLES) == expected_kept(fresh, TABLES)


@settings(deadline=None, max_examples=60)
@given(rows_of_captions)
def test_expected_kept_of_any_table_is_the_sum_over_rows_of_the_mean_over_matched_captions(rows):
    expected = Counter()
    for of_row in rows:
        matched = [caption for caption in of_row if probability_of(caption) > 0]
        for caption in matched:
            expected[caption["language"]] += probability_of(caption) / len(matched)
    assert expected_kept(table_of(rows), TABLES) == pytest.approx(dict(expected))


def test_expected_kept_agrees_with_the_mean_over_many_epochs():
    rows = []
    for number in range(60):
        random = np.random.default_rng(number)
        of_row = []
        for _ in range(random.integers(0, 4)):
            language = LANGUAGES[random.integers(len(LANGUAGES))]
            size = len(COUNTS.get(language, []))
            entry_ids = sorted(random.permutation(size)[: random.integers(0, size + 1)].tolist())
            of_row.append({"kind": "alt", "language": language, "language_score": 1.0, "entry_ids": entry_ids})
        rows.append(of_row)
    table, num_epochs = table_of(rows), 1500
    expected = expected_kept(table, TABLES)
    kept = Counter()
    for epoch in range(num_epochs):
        kept.update(draw(table, TABLES, epoch=epoch, seed=11).language.to_pylist())
    assert set(expected) == {"de", "en", "ja"}
    assert sum(expected.values()) < 0.9 * table.num_rows  # something is dropped by chance
    for language, mean in expected.items():
        sigma = (mean / num_epochs) ** 0.5  # of a sum of independent rare events, the largest it can be
        assert abs(kept[language] / num_epochs - mean) < 4 * sigma


def test_the_caption_that_is_drawn_does_not_sway_whether_the_pair_is_kept():
    caption = {"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": [2]}  # kept with 20 / 400
    table = table_of([[caption, caption]] * 40_000)
    texts = Counter(text.partition("/")[2] for text in draw(table, TABLES, epoch=0, seed=0).caption.to_pylist())
    expected = 40_000 * 0.05 / 2
    assert abs(texts["0"] - expected) < 4 * expected**0.5
    assert abs(texts["1"] - expected) < 4 * expected**0.5


def test_draw_of_another_epoch_or_seed_is_another_sample():
    caption = {"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": [3]}  # kept with 20 / 90
    table = table_of([[caption]] * 500)
    samples = {tuple(drawn(table, epoch=epoch, seed=seed)) for epoch in range(3) for seed in range(3)}
    assert len(samples) == 9


def test_pairs_with_one_id_share_their_fate():
    caption = {"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": [3]}
    table = pa.concat_tables([table_of([[caption]] * 200)] * 2)
    rows = draw(table, TABLES, epoch=0, seed=0).row.tolist()
    assert 0 < len(rows) < 400
    assert [row - 200 for row in rows if row >= 200] == [row for row in rows if row < 200]


@pytest.mark.parametrize(
    "table",
    [
        ANNOTATED.empty_table(),
        pa.table({field.name: pa.chunked_array([], field.type) for field in ANNOTATED}, schema=ANNOTATED),
        table_of([[], []]),
        table_of([[{"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": []}]]),
        table_of([[{"kind": "alt", "language": "fr", "language_score": 1.0, "entry_ids": [0, 1]}]]),
        table_of([[{"kind": "alt", "language": "other", "language_score": 1.0, "entry_ids": []}]]),
    ],
)
def test_a_table_without_matched_captions_draws_nothing(table):
    result = draw(table, TABLES, epoch=0, seed=0)
    assert (result.row.tolist(), result.caption.to_pylist(), result.language.to_pylist()) == ([], [], [])
    assert expected_kept(table, TABLES) == {}


def test_tables_without_any_threshold_keep_nothing():
    caption = {"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": [1]}
    assert draw(table_of([[caption]]), ProbabilityTables(COUNTS, {}), epoch=0, seed=0).row.tolist() == []


def test_a_threshold_of_a_language_without_counts_is_no_table():
    assert ProbabilityTables(COUNTS, {"xx": 3, "ja": 7}).languages == ["ja"]


def test_an_entry_of_the_tail_keeps_its_pair_in_every_epoch():
    caption = {"kind": "alt", "language": "de", "language_score": 1.0, "entry_ids": [1, 2]}  # entry 1 has 1 match
    table = table_of([[caption]])
    assert all(drawn(table, epoch=epoch) for epoch in range(200))


@settings(max_examples=30, deadline=None)
@given(rows_of_captions)
def test_draw_of_other_languages_tables_in_another_order_is_the_same(rows):
    table = table_of(rows)
    backwards = ProbabilityTables(dict(reversed(COUNTS.items())), dict(reversed(T.items())))
    one, other = (draw(table, tables, epoch=0, seed=0) for tables in (TABLES, backwards))
    assert one.row.tolist() == other.row.tolist()
    assert one.caption.to_pylist() == other.caption.to_pylist()
