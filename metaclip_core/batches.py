"""Examples → tensors: what a step takes, from a table of EXAMPLE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from metaclip_core.captions import pad_to_bucket

_BUCKET_STEP = 8  # tokens


@dataclass(frozen=True)
class Batch:
    """`pixels` uint8 [n, 3, S, S]; `input_ids` int64 [n, L], L the shortest bucket that holds the longest caption."""

    pixels: torch.Tensor
    input_ids: torch.Tensor


def caption_buckets(context_length: int) -> tuple[int, ...]:
    """The lengths to which captions are padded: few, so that compiled kernels are few; the last is the context."""
    return (*range(_BUCKET_STEP, context_length, _BUCKET_STEP), context_length)


def to_batch(examples: pa.Table, *, image_size: int, context_length: int, pad_id: int) -> Batch:
    """Tensors of a table of EXAMPLE without tombstones."""
    pixels = examples["pixels"].combine_chunks()
    row_bytes = 3 * image_size * image_size
    flat = np.frombuffer(pixels.buffers()[1], np.uint8, count=len(pixels) * row_bytes, offset=pixels.offset * row_bytes)
    input_ids = pad_to_bucket(
        [row.values.to_numpy() for row in examples["input_ids"]], buckets=caption_buckets(context_length), pad_id=pad_id
    )
    shaped = flat.reshape(len(pixels), 3, image_size, image_size)
    return Batch(torch.from_numpy(shaped.copy()), input_ids)
