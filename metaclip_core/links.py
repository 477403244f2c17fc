"""The link table: one row for each image of a crawl, with all that its pages call it.

Rows of one image combine by an operation that is associative, commutative and idempotent. So the table is the same
however the crawl is cut into files, blocks and runs, and a part of it may be combined again at any time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.records import LINK, check

MAX_CAPTIONS = 64  # of an image; logos have a million
CAPTION_KINDS = ("alt", "title", "data-image-title")  # attributes of an image's tag, best first


def combine_captions(captions: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    """Distinct texts, each with its first kind, in an order that depends on the captions alone; at most MAX_CAPTIONS.

    Kinds in the order of CAPTION_KINDS; within a kind by a hash, for what the alphabet puts first would say
    something of the text.
    """
    kinds: dict[str, int] = {}
    for caption in captions:
        rank = CAPTION_KINDS.index(caption["kind"])
        kinds[caption["text"]] = min(rank, kinds.get(caption["text"], rank))
    chosen = sorted(kinds, key=lambda text: (kinds[text], _digest(text)))[:MAX_CAPTIONS]
    return [{"kind": CAPTION_KINDS[kinds[text]], "text": text} for text in chosen]


def merge_links(links: pa.Table) -> pa.Table:
    """LINK in, LINK out with one row for each pair id, sorted by it. Pure; any order of rows gives the same table.

    Of the addresses with one id, and of the pages, the first in the alphabet stays.
    """
    links = check(links, LINK, stage="links").combine_chunks()
    if links.num_rows == 0:
        return links
    links = links.take(pc.sort_indices(links, sort_keys=[("pair_id", "ascending")]))
    ids = links["pair_id"].combine_chunks()
    starts = np.flatnonzero(np.concatenate([[True], pc.not_equal(ids[1:], ids[:-1]).to_numpy(zero_copy_only=False)]))
    sizes = np.diff(np.append(starts, len(ids)))
    several = [
        _merge(links.slice(start, size).to_pylist())
        for start, size in zip(starts[sizes > 1].tolist(), sizes[sizes > 1].tolist(), strict=True)
    ]
    merged = pa.concat_tables([links.take(starts[sizes == 1]), pa.Table.from_pylist(several, LINK)])
    return merged.take(pc.sort_indices(merged, sort_keys=[("pair_id", "ascending")]))


def _merge(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "pair_id": rows[0]["pair_id"],
        "url": min(row["url"] for row in rows),
        "page": min(row["page"] for row in rows),
        "captions": combine_captions(caption for row in rows for caption in row["captions"]),
    }


def with_caption(links: pa.Table) -> pa.Table:
    """LINK in, LINK and `caption`, the first of each row's captions: for downloaders that know only one."""
    first = pc.struct_field(pc.list_element(links["captions"], 0), "text")
    return links.append_column("caption", first)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()
