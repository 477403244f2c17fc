"""The raw feed: shards are read whole, each byte once, and annotated anew; no stored annotation is read.

An annotation depends on its captions alone, and a draw on its row alone, so what is drawn is what the annotated feed
draws. Pairs that can't be read could not be read in the curation either, which counted them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason
from pipelines.annotate import Annotator
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.draw import open_drawing
from pipelines.selection import read_selection
from pipelines.sources.base import open_source
from pipelines.sources.pairs import Pairs

_BATCH_BYTES = 8 << 20  # of images that are held of one shard while they are drawn from; twice that, between batches


class RawItems:
    """Reads items by their raw pairs; holds the identifier, the automata and the probability tables of a curation."""

    def __init__(self, config: RunConfig, curated: Curated, *, identifier_version: str) -> None:
        self._curated = curated
        self._source = open_source(config)
        self._annotator = Annotator(config, metadata_uri=curated.metadata_uri, identifier_version=identifier_version)
        self._drawing = open_drawing(config, curated)
        self._batch_rows = config.curation.batch_rows

    def read(self, name: str, *, shard: int, epoch: int) -> Iterator[Pairs]:
        """What an epoch drew from a shard, batch by batch as they are read."""
        selection = read_selection(self._curated, shard)
        batches = self._source.read_pairs(
            name, shard=shard, batch_rows=self._batch_rows, batch_bytes=_BATCH_BYTES, funnel=Funnel()
        )
        for pairs in batches:
            numbered = pairs.table.append_column("place", pa.array(np.arange(pairs.table.num_rows)))
            remaining = selection.remaining(numbered)
            annotated = selection.enriched(self._annotator(remaining))
            drawn = self._drawing.train(annotated, epoch=epoch)
            yield Pairs(drawn.rows, partial(_images, pairs, remaining["place"].to_numpy()[drawn.index]))


def _images(pairs: Pairs, index: npt.NDArray[np.int64], rows: Sequence[int]) -> Iterator[bytes | DropReason]:
    return pairs.images(index[np.asarray(rows, np.int64)].tolist())
