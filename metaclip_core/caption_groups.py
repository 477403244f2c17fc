"""Token ids of captions as tensors: padded to few lengths, in groups of similar ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class CaptionGroups:
    """A batch of captions in groups of similar length: int64 [rows, L], each of its own L.

    Caption i of the batch is row `order[i]` of all groups' rows in a line.
    """

    groups: tuple[torch.Tensor, ...]
    order: torch.Tensor


def pad_to_bucket(
    ids: Sequence[npt.NDArray[np.int32] | Sequence[int]], *, buckets: Sequence[int], pad_id: int
) -> torch.Tensor:
    """int64 [len(ids), L], padded on the right, where L is the smallest of `buckets` that holds the longest row.

    The text tower is causal and pooled at the first EOS, so L changes no embedding, only the work.

    Raises:
        ValueError: a row is longer than every bucket.
    """
    longest = max((len(row) for row in ids), default=0)
    fitting = [bucket for bucket in buckets if bucket >= longest]
    if not fitting:
        raise ValueError(f"a caption of {longest} ids fits none of the buckets {sorted(buckets)}")
    padded = torch.full((len(ids), min(fitting)), pad_id, dtype=torch.int64)
    for target, row in zip(padded, ids, strict=True):
        target[: len(row)] = torch.as_tensor(np.asarray(row, dtype=np.int64))
    return padded


def group_captions(
    ids: Sequence[npt.NDArray[np.int32] | Sequence[int]], *, group_rows: int, buckets: Sequence[int], pad_id: int
) -> CaptionGroups:
    """Captions sorted by length and cut into groups of `group_rows`, each padded to its own bucket.

    Groups are of equal rows, but for the last, and not one for each bucket, so that compiled kernels see few sizes.

    Raises:
        ValueError: there is no caption, or one is longer than every bucket.
    """
    if not ids:
        raise ValueError("there is no caption to group")
    by_length = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    order = torch.empty(len(ids), dtype=torch.int64)
    order[torch.tensor(by_length)] = torch.arange(len(ids))
    groups = [
        pad_to_bucket([ids[i] for i in by_length[start : start + group_rows]], buckets=buckets, pad_id=pad_id)
        for start in range(0, len(ids), group_rows)
    ]
    return CaptionGroups(tuple(groups), order)
