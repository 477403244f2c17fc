"""Examples → tensors: what a step takes, from a table of EXAMPLE."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from metaclip_core.caption_groups import CaptionGroups, group_captions

_BUCKET_STEP = 8  # tokens


@dataclass(frozen=True)
class Batch:
    """`pixels` uint8 [n, 3, S, S], and the n captions in groups of similar length."""

    pixels: torch.Tensor
    captions: CaptionGroups

    def to(self, device: torch.device) -> Batch:
        """On a device; a copy to a GPU goes on beside what follows."""
        if device.type == "cpu":
            return self
        groups = tuple(_sent(group, device) for group in self.captions.groups)
        return Batch(_sent(self.pixels, device), CaptionGroups(groups, _sent(self.captions.order, device)))


def _sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    return tensor.pin_memory().to(device, non_blocking=True)


def caption_buckets(context_length: int) -> tuple[int, ...]:
    """The lengths to which captions are padded: few, so that compiled kernels are few; the last is the context."""
    return (*range(_BUCKET_STEP, context_length, _BUCKET_STEP), context_length)


def to_batch(examples: pa.Table, *, image_size: int, context_length: int, group_rows: int, pad_id: int) -> Batch:
    """Tensors of a table of EXAMPLE without tombstones; captions in groups of `group_rows`, but for the last."""
    pixels = examples["pixels"].combine_chunks()
    row_bytes = 3 * image_size * image_size
    flat = np.frombuffer(pixels.buffers()[1], np.uint8, count=len(pixels) * row_bytes, offset=pixels.offset * row_bytes)
    captions = group_captions(
        [row.values.to_numpy() for row in examples["input_ids"]],
        group_rows=group_rows,
        buckets=caption_buckets(context_length),
        pad_id=pad_id,
    )
    shaped = flat.reshape(len(pixels), 3, image_size, image_size)
    return Batch(torch.from_numpy(shaped.copy()), captions)
