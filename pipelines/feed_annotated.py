"""The annotated feed: stored annotations are joined and drawn from; then only the kept images are read, in ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa

from metaclip_core.records import DropReason
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.draw import draw_rows
from pipelines.selection import read_unique
from pipelines.sources.base import open_source
from pipelines.sources.pairs import Pairs
from pipelines.thresholds import load_tables


class AnnotatedItems:
    """Reads items by their stored annotations; holds the probability tables of a curation."""

    def __init__(self, config: RunConfig, curated: Curated) -> None:
        self._curated = curated
        self._source = open_source(config)
        self._tables = load_tables(curated)
        self._seed = config.seed

    def read(self, name: str, *, shard: int, epoch: int) -> Iterator[Pairs]:
        """What an epoch drew from a shard, in one piece."""
        annotated = read_unique(self._curated, shard)
        drawn = draw_rows(annotated, self._tables, epoch=epoch, seed=self._seed)
        places = annotated.select(["image_offset", "image_length"]).take(pa.array(drawn.index))
        yield Pairs(drawn.rows, partial(self._images, name, places))

    def _images(self, name: str, places: pa.Table, rows: Sequence[int]) -> Iterator[bytes | DropReason]:
        chosen = places.take(pa.array(rows, pa.int64()))
        return self._source.read_images(name, chosen["image_offset"].to_pylist(), chosen["image_length"].to_pylist())
