"""The annotated feed: stored annotations are joined and drawn from; then only the kept images are read, in ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from metaclip_core.records import DropReason
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.draw import Drawn, open_drawing
from pipelines.selection import read_unique
from pipelines.sources.base import open_source
from pipelines.sources.pairs import Pairs


class AnnotatedItems:
    """Reads items by their stored annotations; holds the probability tables of a curation."""

    def __init__(self, config: RunConfig, curated: Curated) -> None:
        self._curated = curated
        self._source = open_source(config)
        self._drawing = open_drawing(config, curated)

    def read(self, name: str, *, shard: int, epoch: int) -> Iterator[Pairs]:
        """What an epoch drew from a shard, in one piece."""
        annotated = read_unique(self._curated, shard)
        yield self._pairs(name, annotated, self._drawing.train(annotated, epoch=epoch))

    def read_held_out(self, name: str, *, shard: int) -> Pairs:
        """What a run is validated on, of a shard."""
        annotated = read_unique(self._curated, shard)
        return self._pairs(name, annotated, self._drawing.hold_out(annotated))

    def _pairs(self, name: str, annotated: pa.Table, drawn: Drawn) -> Pairs:
        places = annotated.select(["image_offset", "image_length"]).take(pa.array(drawn.index))
        return Pairs(drawn.rows, partial(self._images, name, places))

    def _images(self, name: str, places: pa.Table, rows: Sequence[int]) -> Iterator[bytes | DropReason]:
        chosen = places.take(pa.array(rows, pa.int64()))
        return self._source.read_images(name, chosen["image_offset"].to_pylist(), chosen["image_length"].to_pylist())
