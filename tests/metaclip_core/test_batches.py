import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.batches import caption_buckets, to_batch
from metaclip_core.records import example_schema

SIZE, CONTEXT, PAD = 2, 20, 99


def examples_of(captions):
    schema = example_schema(SIZE)
    random = np.random.default_rng(0)
    rows = [
        {"pixels": random.integers(0, 256, 3 * SIZE * SIZE, np.uint8).tobytes(), "input_ids": ids, "language": "en"}
        for ids in captions
    ]
    return pa.Table.from_pylist(rows, schema)


def batch_of(examples, group_rows=100):
    return to_batch(examples, image_size=SIZE, context_length=CONTEXT, group_rows=group_rows, pad_id=PAD)


def captions_of(batch):
    """The rows of ids, in the batch's order."""
    rows = [row for group in batch.captions.groups for row in group.tolist()]
    return [rows[place] for place in batch.captions.order.tolist()]


def slow_pixels(examples):
    """Byte c·S·S + y·S + x is the pixel at channel c, row y, column x."""
    pixels = torch.zeros((examples.num_rows, 3, SIZE, SIZE), dtype=torch.uint8)
    for n, data in enumerate(examples["pixels"].to_pylist()):
        for c in range(3):
            for y in range(SIZE):
                for x in range(SIZE):
                    pixels[n, c, y, x] = data[(c * SIZE + y) * SIZE + x]
    return pixels


id_lists = st.lists(st.integers(0, 98), min_size=1, max_size=CONTEXT)


@settings(max_examples=40, deadline=None)
@given(st.lists(id_lists, min_size=1, max_size=8), st.data())
def test_batch_of_any_slices_and_chunks_holds_their_rows_in_order(captions, data):
    whole = examples_of(captions)
    start = data.draw(st.integers(0, len(captions) - 1))
    stop = data.draw(st.integers(start + 1, len(captions)))
    cut = data.draw(st.integers(start, stop))
    examples = whole.slice(start, stop - start)  # one chunk that begins inside its buffer
    if start < cut < stop:
        examples = pa.concat_tables([whole.slice(start, cut - start), whole.slice(cut, stop - cut)])
    batch = batch_of(examples, group_rows=data.draw(st.integers(1, 9)))
    assert torch.equal(batch.pixels, slow_pixels(examples))
    for row, ids in zip(captions_of(batch), captions[start:stop], strict=True):
        assert row == ids + [PAD] * (len(row) - len(ids))
    for group in batch.captions.groups:
        longest = int((group != PAD).sum(1).max())
        assert group.shape[1] == min(bucket for bucket in caption_buckets(CONTEXT) if bucket >= longest)


def test_batch_is_of_the_types_that_a_step_takes():
    batch = batch_of(examples_of([[1], [2, 3]]))
    [group] = batch.captions.groups
    assert (batch.pixels.dtype, group.dtype) == (torch.uint8, torch.int64)


def test_pixels_of_a_batch_are_no_view_of_the_table():
    examples = examples_of([[1], [2]])
    before = examples["pixels"].to_pylist()
    batch_of(examples).pixels.zero_()
    assert examples["pixels"].to_pylist() == before


def test_a_caption_longer_than_the_context_is_refused():
    with pytest.raises(ValueError, match="21 ids"):
        batch_of(examples_of([[1] * 21]))


@pytest.mark.parametrize(
    ("context_length", "expected"), [(20, (8, 16, 20)), (16, (8, 16)), (8, (8,)), (5, (5,)), (9, (8, 9))]
)
def test_caption_buckets_ascend_to_the_context(context_length, expected):
    assert caption_buckets(context_length) == expected
