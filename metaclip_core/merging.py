"""Captions of images that look the same: what a keeper gets from the pairs that go."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa

from metaclip_core.links import MAX_CAPTIONS


def extra_captions(own: list[dict[str, Any]], others: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the other captions, in their order, whose text is new; with a pair's own at most MAX_CAPTIONS."""
    texts = {caption["text"] for caption in own}
    extra: list[dict[str, Any]] = []
    for caption in others:
        if len(own) + len(extra) >= MAX_CAPTIONS:
            break
        if caption["text"] not in texts:
            texts.add(caption["text"])
            extra.append(caption)
    return extra


def with_extra_captions(annotated: pa.Table, extra: pa.Table) -> pa.Table:
    """The pairs of a shard in their order, some with more captions.

    Args:
        annotated: columns row, captions, and any others.
        extra: EXTRA_CAPTIONS of some of the rows.
    """
    captions = annotated["captions"].combine_chunks()
    more = dict(zip(extra["row"].to_pylist(), extra["captions"].to_pylist(), strict=True))
    pieces, at = [], 0
    for index, row in enumerate(annotated["row"].to_pylist()):
        if row in more:
            longer = captions[index].as_py() + more[row]
            pieces += [captions.slice(at, index - at), pa.array([longer], captions.type)]
            at = index + 1
    column = pa.chunked_array([*pieces, captions.slice(at)], captions.type).combine_chunks()
    return annotated.set_column(annotated.schema.get_field_index("captions"), "captions", column)
