"""A model of some thousand parameters, its tokenizer and a batch for it."""

import torch

from metaclip_core.caption_groups import pad_to_bucket
from metaclip_core.captions import CaptionEncoder, train_tokenizer
from metaclip_core.model import create_model
from metaclip_core.shapes import ModelShape, TowerShape

SHAPE = ModelShape(
    image_size=16,
    patch_size=8,
    vision=TowerShape(width=32, layers=2, heads=2),
    text=TowerShape(width=24, layers=2, heads=2),
    context_length=16,
    embedding_width=20,
)
CAPTIONS = ["forty two", "ninety nine red balloons", "七"]


def small_tokenizer():
    return train_tokenizer(CAPTIONS, vocab_size=300)


def small_model(seed=5):
    return create_model(SHAPE, small_tokenizer(), seed=seed)


def random_pixels(rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, 3, SHAPE.image_size, SHAPE.image_size), dtype=torch.uint8, generator=generator)


def caption_ids(captions=CAPTIONS):
    """int64 [n, context], padded."""
    rows = CaptionEncoder(small_tokenizer(), context_length=SHAPE.context_length).encode(captions)
    return pad_to_bucket(rows, buckets=(SHAPE.context_length,), pad_id=1)
