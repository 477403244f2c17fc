import pytest
import torch

from metaclip_core.caption_groups import group_captions, pad_to_bucket
from metaclip_core.captions import CaptionEncoder
from metaclip_core.model import encode_pairs
from metaclip_core.pair_encoder import PairEncoder, encode_batch
from tests.small_models import CAPTIONS, SHAPE, random_pixels, small_model, small_tokenizer

BUCKETS = (4, 8, 12, 16)
LINES = [*CAPTIONS, "red", "forty two red balloons and ninety nine more of them", "", "two"]


@pytest.fixture(scope="module")
def ids():
    return CaptionEncoder(small_tokenizer(), context_length=SHAPE.context_length).encode(LINES)


def step(embed):
    """Embeddings of a batch, and the gradients of something that depends on each of its rows."""
    model = small_model().double()
    pairs = embed(model)
    weights = torch.arange(1, len(LINES) + 1, dtype=torch.float64)
    ((pairs.images * pairs.texts).sum(dim=1) * weights).sum().backward()
    return pairs.images.detach(), pairs.texts.detach(), {n: p.grad for n, p in model.named_parameters()}


@pytest.mark.parametrize("group_rows", [1, 2, 3, 7, 100])
def test_groups_change_neither_embeddings_nor_gradients(ids, group_rows):
    pixels = random_pixels(len(LINES))
    padded = pad_to_bucket(ids, buckets=(SHAPE.context_length,), pad_id=1)
    captions = group_captions(ids, group_rows=group_rows, buckets=BUCKETS, pad_id=1)
    expected = step(lambda model: encode_pairs(model, pixels, padded))
    images, texts, gradients = step(lambda model: encode_batch(PairEncoder(model), pixels, captions))
    torch.testing.assert_close(images, expected[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(texts, expected[1], atol=1e-6, rtol=0)
    for name, gradient in expected[2].items():
        torch.testing.assert_close(gradients[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


def test_one_long_caption_lengthens_its_own_group_alone(ids):
    captions = group_captions(ids, group_rows=2, buckets=BUCKETS, pad_id=1)
    lengths = [group.shape[1] for group in captions.groups]
    assert [group.shape[0] for group in captions.groups] == [2, 2, 2, 1]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1] == 16


def test_the_order_of_groups_leads_back_to_each_caption(ids):
    captions = group_captions(ids, group_rows=3, buckets=BUCKETS, pad_id=1)
    rows = [row for group in captions.groups for row in group.tolist()]
    for place, line in zip(captions.order.tolist(), ids, strict=True):
        assert rows[place][: len(line)] == line.tolist()
        assert set(rows[place][len(line) :]) <= {1}


def test_a_caption_longer_than_every_bucket_is_refused(ids):
    with pytest.raises(ValueError, match="fits none of the buckets"):
        group_captions(ids, group_rows=3, buckets=(4,), pad_id=1)


def test_a_batch_without_captions_is_refused():
    with pytest.raises(ValueError, match="no caption"):
        group_captions([], group_rows=3, buckets=BUCKETS, pad_id=1)
