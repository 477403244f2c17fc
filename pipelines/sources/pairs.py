"""Pairs in batches, bounded by rows and by the bytes that are held of their images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from metaclip_core.records import PAIR, DropReason


@dataclass(frozen=True)
class Pairs:
    """Neighbouring pairs of a shard with their images at hand.

    `table` is of PAIR, or of DRAWN without images. `images` gives those of some of its rows in the order asked for, or
    why there is none; lazy.
    """

    table: pa.Table
    images: Callable[[Sequence[int]], Iterator[bytes | DropReason]]


def in_batches(
    pairs: Iterable[tuple[dict[str, Any], Any]], *, max_rows: int, max_bytes: int
) -> Iterator[tuple[pa.Table, list[Any]]]:
    """Tables of PAIR, each with what is held of its rows' images.

    Args:
        pairs: values of PAIR; the image's bytes, or anything else, which weighs nothing.
        max_rows: of a table.
        max_bytes: of a table's images; one that is larger stands alone.
    """
    rows: list[dict[str, Any]] = []
    images: list[Any] = []
    num_bytes = 0
    for row, image in pairs:
        size = len(image) if isinstance(image, bytes) else 0
        if rows and (len(rows) == max_rows or num_bytes + size > max_bytes):
            yield pa.Table.from_pylist(rows, PAIR), images
            rows, images, num_bytes = [], [], 0
        rows.append(row)
        images.append(image)
        num_bytes += size
    if rows:
        yield pa.Table.from_pylist(rows, PAIR), images


def chosen(images: Sequence[Any], rows: Sequence[int]) -> Iterator[Any]:
    """What is held of some rows' images."""
    return (images[row] for row in rows)
