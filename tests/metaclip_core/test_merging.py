import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.links import MAX_CAPTIONS
from metaclip_core.merging import extra_captions, with_extra_captions
from metaclip_core.records import ANNOTATED_CAPTION, EXTRA_CAPTIONS

TEXTS = st.lists(st.sampled_from("abcdef"), max_size=4)


def captions(texts):
    return [
        {"kind": "alt", "text": text, "language": "en", "language_score": 0.5, "entry_ids": [1, 2]} for text in texts
    ]


def test_extra_captions_are_new_and_in_order():
    assert extra_captions(captions("ab"), captions("bdcd")) == captions("dc")


def test_extra_captions_stop_at_as_many_as_a_pair_may_have():
    many = captions(str(number) for number in range(2 * MAX_CAPTIONS))
    assert extra_captions(captions("ab"), many) == many[: MAX_CAPTIONS - 2]
    assert extra_captions(many, captions("ab")) == []


@given(own=st.lists(TEXTS, max_size=6), data=st.data())
def test_pairs_get_their_extra_captions_and_keep_their_place(own, data):
    rows = [3 * index for index in range(len(own))]
    some = [row for row in rows if data.draw(st.booleans())]
    more = {row: data.draw(TEXTS) for row in some}
    column = pa.array([captions(texts) for texts in own], pa.list_(ANNOTATED_CAPTION))
    annotated = pa.table({"row": pa.array(rows, pa.int32()), "captions": column, "other": pa.array(rows)})
    extra = pa.Table.from_pylist([{"row": row, "captions": captions(more[row])} for row in some], EXTRA_CAPTIONS)
    longer = with_extra_captions(annotated, extra)
    assert longer.schema == annotated.schema
    assert longer.drop_columns("captions").equals(annotated.drop_columns("captions"))
    expected = [captions([*texts, *more.get(row, [])]) for row, texts in zip(rows, own, strict=True)]
    assert longer["captions"].to_pylist() == expected
