import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.records import ANNOTATED, COUNTS, DRAWN, PAIR, TALLY, SchemaError, check, example_schema

SCHEMAS = {"PAIR": PAIR, "ANNOTATED": ANNOTATED, "DRAWN": DRAWN, "TALLY": TALLY, "COUNTS": COUNTS}
ONE_PAIR = {
    "pair_id": "0" * 24,
    "url": None,
    "shard": 1,
    "row": 2,
    "captions": [{"kind": "alt", "text": "a"}],
    "image_offset": 512,
    "image_length": 10,
}


def test_check_of_a_table_with_more_columns_in_another_order_gives_exactly_the_schema():
    table = pa.Table.from_pylist([ONE_PAIR], PAIR).append_column("extra", pa.array(["x"]))
    shuffled = table.select(list(reversed(table.schema.names)))
    checked = check(shuffled, PAIR, stage="annotate")
    assert checked.schema.names == PAIR.names
    assert checked.to_pylist() == [ONE_PAIR]


@pytest.mark.parametrize("name", PAIR.names)
def test_check_of_a_table_without_a_column_names_stage_and_column(name):
    with pytest.raises(SchemaError, match=f"annotate: column '{name}' is missing"):
        check(PAIR.empty_table().drop_columns([name]), PAIR, stage="annotate")


def test_check_of_a_column_of_another_type_names_both_types():
    table = PAIR.empty_table().set_column(PAIR.get_field_index("row"), "row", pa.array([], pa.int64()))
    with pytest.raises(SchemaError, match=r"decode: column 'row' is int64, expected int32"):
        check(table, PAIR, stage="decode")


def test_check_of_pairs_that_were_never_annotated_is_an_error():
    with pytest.raises(SchemaError, match="captions"):
        check(PAIR.empty_table(), ANNOTATED, stage="draw")


def test_check_of_a_column_that_stands_twice_is_an_error():
    table = PAIR.empty_table()
    with pytest.raises(SchemaError, match="row"):
        check(table.append_column("row", table["row"]), PAIR, stage="annotate")


@pytest.mark.parametrize("name", SCHEMAS)
def test_check_of_a_table_that_was_stored_as_parquet_passes(name):
    buffer = io.BytesIO()
    pq.write_table(SCHEMAS[name].empty_table(), buffer)
    buffer.seek(0)
    assert check(pq.read_table(buffer), SCHEMAS[name], stage="test").schema.names == SCHEMAS[name].names


def test_check_never_looks_at_rows():
    table = pa.Table.from_pylist([{**ONE_PAIR, "pair_id": None}], PAIR)
    assert check(table, PAIR, stage="test").num_rows == 1


def test_pixels_of_an_example_have_the_bytes_of_their_image_size():
    assert example_schema(224).field("pixels").type == pa.binary(3 * 224 * 224)
