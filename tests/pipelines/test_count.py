from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.metadata.store import ENTRIES, write_metadata
from metaclip_core.records import COUNTS
from pipelines import storage
from pipelines.count import read_counts, read_names, write_counts

SIZES = {"de": 11, "en": 25, "ja": 3}


@pytest.fixture(scope="module", params=[4, 1_000])
def counted(request, tmp_path_factory):
    """Counts whose row groups hold so many entries."""
    folder = tmp_path_factory.mktemp("counts")
    with pq.ParquetWriter(folder / "counts.parquet", COUNTS) as writer:
        for language, size in SIZES.items():
            entries = [f"{language} {entry}" for entry in range(size)]
            table = pa.table([[language] * size, range(size), entries, [0] * size], schema=COUNTS)
            writer.write_table(table, row_group_size=request.param)
    return str(folder)


wanted_entries = st.dictionaries(st.sampled_from(list(SIZES)), st.sets(st.integers(0, 2)), max_size=3).flatmap(
    lambda few: st.just({language: sorted({*ids, SIZES[language] - 1}) for language, ids in few.items()})
)


@settings(max_examples=30)
@given(wanted_entries)
def test_names_are_those_of_the_entries_asked_for(counted, wanted):
    assert read_names(counted, wanted) == {
        language: {entry: f"{language} {entry}" for entry in ids} for language, ids in wanted.items()
    }


def test_names_of_a_language_that_was_not_counted_are_none(counted):
    assert read_names(counted, {"fr": []}) == {"fr": {}}


LARGE_SIZES = {"de": 70_000, "en": 200_000, "fr": 0, "ja": 1, "zh": 65_536}  # less and more than is read at once


def test_counts_that_are_written_are_read_again(tmp_path):
    rng = np.random.default_rng(0)
    names = {language: [f"{language} {number}" for number in range(size)] for language, size in LARGE_SIZES.items()}
    tables = {
        language: pa.table([entries, ["x"] * len(entries), [0.0] * len(entries)], schema=ENTRIES)
        for language, entries in names.items()
    }
    write_metadata(pafs.LocalFileSystem(), str(tmp_path / "metadata"), tables, provenance={})
    pool = PoolCounts(
        {language: rng.integers(0, 2**40, size) for language, size in LARGE_SIZES.items()},
        Counter({(Measure.PAIRS, ""): 7, (Measure.CAPTIONS, "de"): 2**40}),
    )
    write_counts(pool, counts_uri=str(tmp_path / "counts"), metadata_uri=str(tmp_path / "metadata"))
    table = storage.read_table(str(tmp_path / "counts" / "counts.parquet"))
    assert table["entry"].to_pylist() == [entry for entries in names.values() for entry in entries]
    found = read_counts(str(tmp_path / "counts"))
    assert found.sums == pool.sums
    assert list(found.matches) == ["de", "en", "ja", "zh"]
    for language, counts in found.matches.items():
        assert counts.dtype == np.int64
        assert np.array_equal(counts, pool.matches[language])
