"""The interface of a source, and which class reads which layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.pool import PoolFormat
from pipelines.sources.pairs import Pairs
from pipelines.sources.parquet import ParquetSource
from pipelines.sources.webdataset import WebDatasetSource


class Source(Protocol):
    """A pool of shards."""

    def list_shards(self) -> pa.Table:
        """Columns name, size and identity, by name. Raises UserError when there is nothing to list."""

    def read_captions(self, name: str, *, shard: int, batch_rows: int, funnel: Funnel) -> Iterator[pa.Table]:
        """The pairs of a shard as tables of PAIR; what is dropped is counted in `funnel`."""

    def read_pairs(
        self, name: str, *, shard: int, batch_rows: int, batch_bytes: int, funnel: Funnel
    ) -> Iterator[Pairs]:
        """`read_captions` with the images, each byte of the shard read once. Images are what `read_images` gives.

        Args:
            name: of the shard.
            shard: its number.
            batch_rows: of a table, at most.
            batch_bytes: of images held with a table; one that is larger stands alone.
            funnel: counts as in `read_captions`.
        """

    def read_images(self, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[bytes | DropReason]:
        """Some images of a shard by their places in PAIR, or why there is none; lazy, with bounded memory.

        Args:
            name: of the shard.
            offsets: ascending.
            lengths: as many.
        """


def open_source(config: RunConfig) -> Source:
    """The source of the recipe's pool."""
    readers: dict[PoolFormat, Callable[..., Source]] = {
        PoolFormat.WEBDATASET: WebDatasetSource,
        PoolFormat.PARQUET: ParquetSource,
    }
    return readers[config.pool.format](config.pool, uri=storage.absolute(config.pool.uri, base=config.root))
