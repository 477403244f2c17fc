"""What curation left of a shard: the pairs that are counted and drawn from, whichever way they are read."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from metaclip_core.merging import with_extra_captions
from pipelines.annotate import read_annotations
from pipelines.curated import Curated
from pipelines.deduplicate import read_duplicates
from pipelines.keepers import read_extra_captions, read_gone
from pipelines.screen import read_left_out, without_rows


@dataclass(frozen=True)
class Selection:
    """Of the pairs of one shard, those that are left out, and captions that others get from them."""

    left_out: pa.Array  # rows, int32
    extra: pa.Table | None  # EXTRA_CAPTIONS; None: nobody gets any

    def remaining(self, pairs: pa.Table) -> pa.Table:
        """Those of some of the shard's pairs that are left; `pairs` has a column row."""
        return without_rows(pairs, self.left_out)

    def enriched(self, annotated: pa.Table) -> pa.Table:
        """The same pairs, each with the captions that it gets behind its own, where there is a column for them."""
        if self.extra is None or "captions" not in annotated.schema.names:
            return annotated
        return with_extra_captions(annotated, self.extra)


def read_selection(curated: Curated, shard: int) -> Selection:
    """What curation left of a shard."""
    left_out = [read_left_out(curated, shard), read_duplicates(curated, shard)]
    extra = None
    if curated.near_uri is not None:
        left_out.append(read_gone(curated.near_uri, shard))
        extra = read_extra_captions(curated.near_uri, shard)
    return Selection(pa.concat_arrays(left_out), extra)


def read_unique(curated: Curated, shard: int, *, columns: list[str] | None = None) -> pa.Table:
    """The annotations of a shard's pairs that are left, as ANNOTATED or some of its columns; row is one of them."""
    selection = read_selection(curated, shard)
    annotated = read_annotations(curated.annotations_uri, shard, columns=columns)
    return selection.enriched(selection.remaining(annotated))
