import itertools
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.counting import Measure, PoolCounts, tally
from metaclip_core.records import ANNOTATED, TALLY, check

NUM_ENTRIES = {"de": 4, "en": 3, "ja": 1, "fi": 2}


@st.composite
def captions(draw):
    language = draw(st.sampled_from(["de", "en", "ja", "other"]))
    size = NUM_ENTRIES.get(language, 0)
    entry_ids = draw(st.sets(st.integers(0, size - 1))) if size else set()
    return {"kind": "alt", "text": "", "language": language, "language_score": 0.5, "entry_ids": sorted(entry_ids)}


tables_rows = st.lists(st.lists(captions(), max_size=4), max_size=12)


def table_of(rows):
    records = [
        {"pair_id": f"{i:024x}", "shard": 0, "row": i, "captions": row, "image_offset": 0, "image_length": 0}
        for i, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(records, ANNOTATED)


def slow_counts(rows):
    """Counter by (measure, language, entry)."""
    counts = Counter()
    for row in rows:
        counts[Measure.PAIRS, "", None] += 1
        counts[Measure.MATCHED_PAIRS, "", None] += any(caption["entry_ids"] for caption in row)
        for caption in row:
            counts[Measure.CAPTIONS, caption["language"], None] += 1
            counts[Measure.MATCHED_CAPTIONS, caption["language"], None] += bool(caption["entry_ids"])
            for entry_id in caption["entry_ids"]:
                counts[Measure.MATCHES, caption["language"], entry_id] += 1
    return +counts


def counted(*tallies):
    counts = PoolCounts.zero(NUM_ENTRIES)
    for tallied in tallies:
        counts.add(tallied)
    return counts


def as_counter(counts):
    flat = Counter({(measure, language, None): n for (measure, language), n in counts.sums.items()})
    for language, matches in counts.matches.items():
        flat.update({(Measure.MATCHES, language, entry_id): int(n) for entry_id, n in enumerate(matches)})
    return +flat


@settings(deadline=None)
@given(tables_rows)
def test_tally_of_any_table_equals_the_counter_over_its_captions(rows):
    assert as_counter(counted(tally(table_of(rows)))) == slow_counts(rows)


@settings(deadline=None)
@given(tables_rows, st.lists(st.integers(0, 12), max_size=3), st.randoms(use_true_random=False))
def test_tallies_of_the_parts_of_a_table_add_up_to_that_of_the_whole_in_any_order(rows, cuts, random):
    table = table_of(rows)
    edges = [0, *sorted(min(cut, table.num_rows) for cut in cuts), table.num_rows]
    parts = [table.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    tallies = [tally(part) for part in parts]
    random.shuffle(tallies)
    whole = as_counter(counted(tally(table)))
    assert as_counter(counted(*tallies)) == whole
    assert as_counter(counted(pa.concat_tables(tallies))) == whole
    assert as_counter(counted(tally(pa.concat_tables(parts)))) == whole


@settings(deadline=None)
@given(tables_rows)
def test_tally_of_any_table_is_of_its_schema_with_sorted_unique_entries(rows):
    tallied = tally(table_of(rows))
    assert check(tallied, TALLY, stage="test").equals(tallied)
    for row in tallied.to_pylist():
        assert len(row["entry_ids"]) == len(row["counts"])
        assert row["entry_ids"] == sorted(set(row["entry_ids"]))


@pytest.mark.parametrize(
    "table",
    [
        ANNOTATED.empty_table(),
        pa.table({field.name: pa.chunked_array([], field.type) for field in ANNOTATED}, schema=ANNOTATED),
    ],
)
def test_tally_of_an_empty_table_counts_nothing(table):
    counts = counted(tally(table))
    assert as_counter(counts) == Counter()
    assert all(counts.total(measure) == 0 for measure in Measure)


def test_an_entry_of_two_captions_of_one_pair_counts_twice_and_the_pair_once():
    caption = {"kind": "alt", "text": "", "language": "de", "language_score": 1.0, "entry_ids": [2]}
    counts = counted(tally(table_of([[caption, caption]])))
    assert counts.matches["de"].tolist() == [0, 0, 2, 0]
    assert counts.total(Measure.MATCHED_PAIRS) == 1
    assert counts.total(Measure.MATCHED_CAPTIONS, "de") == 2


def test_total_of_what_was_never_counted_is_zero_and_adds_no_key():
    counts = PoolCounts.zero(NUM_ENTRIES)
    assert counts.total(Measure.CAPTIONS, "sw") == 0
    assert not counts.sums


def test_matches_of_a_language_without_metadata_are_an_error():
    caption = {"kind": "alt", "text": "", "language": "sw", "language_score": 1.0, "entry_ids": [0]}
    with pytest.raises(KeyError, match="sw"):
        counted(tally(table_of([[caption]])))


def test_matches_beyond_32_bits_do_not_overflow():
    rows = [{"measure": Measure.MATCHES, "language": "ja", "entry_ids": [0], "counts": [2**40]}]
    counts = counted(*[pa.Table.from_pylist(rows, TALLY)] * 3)
    assert counts.matches["ja"].dtype == np.int64
    assert counts.matches["ja"].tolist() == [3 * 2**40]
