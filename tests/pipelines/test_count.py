import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.records import COUNTS
from pipelines.count import read_names

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
