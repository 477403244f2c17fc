from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclip_core.metadata import parts
from metaclip_core.metadata.parts import NUM_PARTS, database, execute_by_parts

ROWS = pa.schema([("a", pa.string()), ("b", pa.string()), ("count", pa.int64())])
SUM = "INSERT INTO sums SELECT a, b, sum(count), count(*) FROM part GROUP BY a, b HAVING sum(count) >= $least"


def batches(rows, *, size):
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    return pa.table(columns, schema=ROWS).to_batches(max_chunksize=size)


def sums(folder, given_batches, *, least=0):
    """(a, b, sum, rows) in order, and what is left in the folder."""
    folder.mkdir()
    with database(str(folder), memory_bytes=100_000_000) as within:
        within.connection.execute("CREATE TABLE sums (a VARCHAR, b VARCHAR, sum BIGINT, num_rows BIGINT)")
        execute_by_parts(within, SUM, given_batches, keys=["a", "b"], schema=ROWS, least=least)
        found = within.connection.sql("SELECT * FROM sums ORDER BY ALL").fetchall()
        return found, {path.name for path in folder.iterdir()}


def plain(rows, *, least=0):
    total, num_rows = Counter(), Counter((a, b) for a, b, _ in rows)
    for a, b, count in rows:
        total[a, b] += count
    return sorted((*key, number, num_rows[key]) for key, number in total.items() if number >= least)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.text("abé猫", max_size=3), st.text("xy", max_size=2), st.integers(0, 9)), max_size=60),
    size=st.integers(1, 20),
    held=st.integers(1, 2_000),
)
def test_sums_are_those_of_a_counter_however_many_rows_are_held(tmp_path_factory, rows, size, held):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "HELD_BYTES", held)
        found, left = sums(tmp_path_factory.mktemp("parts") / "scratch", batches(rows, size=size), least=2)
    assert found == plain(rows, least=2)
    assert not any(name.startswith("tmp") for name in left)


def test_many_rows_are_spread_over_all_parts_evenly(tmp_path):
    rows = [(f"{number:07}", "b" * 60, number % 5) for number in range(250_000)]
    sizes = []
    with database(str(tmp_path), memory_bytes=100_000_000) as within:
        within.connection.execute("CREATE TABLE sizes (num_rows BIGINT)")
        query = "INSERT INTO sizes SELECT count(*) FROM part"
        execute_by_parts(within, query, batches(rows, size=50_000), keys=["a"], schema=ROWS)
        sizes = [size for (size,) in within.connection.sql("SELECT num_rows FROM sizes").fetchall()]
    assert len(sizes) == NUM_PARTS
    assert sum(sizes) == len(rows)
    assert max(sizes) < 1.5 * len(rows) / NUM_PARTS


def test_what_the_batches_raise_is_raised(tmp_path):
    def failing():
        yield from batches([("a", "b", 1)], size=1)
        raise OSError("the store failed")

    with pytest.raises(OSError, match="the store failed"):
        sums(tmp_path / "scratch", failing())
