import numpy as np
import pytest

from metaclip_core.caption_groups import pad_to_bucket

PAD = 1


def test_padding_takes_the_smallest_bucket_that_holds_the_longest_row():
    padded = pad_to_bucket([[0, 5, 2], np.array([0, 5, 6, 7, 2], dtype=np.int32)], buckets=(16, 4, 8), pad_id=PAD)
    assert padded.tolist() == [[0, 5, 2, 1, 1, 1, 1, 1], [0, 5, 6, 7, 2, 1, 1, 1]]
    assert pad_to_bucket([[0, 5, 6, 2]], buckets=(4, 8), pad_id=PAD).shape == (1, 4)


def test_a_row_longer_than_every_bucket_is_refused():
    with pytest.raises(ValueError, match="5 ids"):
        pad_to_bucket([[0, 5, 6, 7, 2]], buckets=(4,), pad_id=PAD)
