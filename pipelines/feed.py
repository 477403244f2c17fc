"""The feed: positions of the stream → drawn pairs with the bytes of their image.

What an epoch drew from a shard comes from one of two readers that find the same rows, `feed_annotated` and `feed_raw`;
rows that have ended are skipped before their images are read. The shards of one call are interleaved in chunks, so that
a batch mixes them without a large buffer. Behind the last row of an item comes its closing tombstone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from typing import Protocol

import numpy as np
import pyarrow as pa
import ray

from metaclip_core.ledger import Ledger
from metaclip_core.records import DRAWN, DropReason
from pipelines.config import RunConfig
from pipelines.config.training import FeedMode
from pipelines.curated import Curated
from pipelines.feed_annotated import AnnotatedItems
from pipelines.feed_raw import RawItems
from pipelines.identifier import identifier_version
from pipelines.manifest import load_manifest
from pipelines.sources.pairs import Pairs
from pipelines.window import WindowState, window_of

_MAX_BLOCKS = 2_000  # Ray Data plans every read task before the first row
_CLOSING_ROW = -1


class ItemReader(Protocol):
    """Reads what an epoch drew from a shard."""

    def read(self, name: str, *, shard: int, epoch: int) -> Iterator[Pairs]:
        """The drawn rows in order: of DRAWN without images, and the images of those that are asked for; lazy."""


class Feed:
    """Positions in, DRAWN out; holds a reader, and the ledger that the run started from."""

    def __init__(
        self, config: RunConfig, curated: Curated, open_items: Callable[[], ItemReader], *, run_name: str
    ) -> None:
        manifest = load_manifest(config).pinned(curated.num_shards, curated.manifest_digest)
        self._names = manifest.table["name"]  # as Arrow: a large pool has 400,000
        self._chunk_rows = config.feed.chunk_rows
        self._items = open_items()
        state: WindowState = ray.get(window_of(run_name).state.remote())
        self._offset = state.offset
        self._ledger = Ledger.from_table(state.ledger)
        self._ledger_id = self._ledger.digest()

    def __call__(self, steps: pa.Table) -> Iterator[pa.Table]:
        """`steps`: column id, indices in the window."""
        positions = self._ledger.agenda(steps["id"].to_numpy() + self._offset)
        epochs, shards = self._ledger.order.locate(positions)
        items = [
            self._read_item(int(position), int(epoch), int(shard))
            for position, epoch, shard in zip(positions, epochs, shards, strict=True)
        ]
        while items:
            for item in list(items):
                chunk = next(item, None)
                if chunk is None:
                    items.remove(item)
                else:
                    yield chunk

    def _read_item(self, position: int, epoch: int, shard: int) -> Iterator[pa.Table]:
        num_drawn, chunk = 0, DRAWN.empty_table()
        for drawn in self._items.read(self._names[shard].as_py(), shard=shard, epoch=epoch):
            num_drawn += drawn.table.num_rows
            ended = self._ledger.has_ended(position, drawn.table["row"].to_numpy().astype(np.int64))
            todo = np.flatnonzero(~ended)
            images = drawn.images(todo.tolist())
            while len(todo):
                taken, todo = np.split(todo, [self._chunk_rows - chunk.num_rows])
                rows = _with_images(drawn.table.take(pa.array(taken)), list(islice(images, len(taken))))
                chunk = pa.concat_tables([chunk, rows])
                if chunk.num_rows == self._chunk_rows:
                    yield self._signed(chunk)
                    chunk = DRAWN.empty_table()
        if chunk.num_rows:
            yield self._signed(chunk)
        closing = {
            "epoch": epoch,
            "shard": shard,
            "row": _CLOSING_ROW,
            "drop_reason": DropReason.ITEM_END,
            "drawn_in_item": num_drawn,
        }
        yield self._signed(pa.Table.from_pylist([closing], DRAWN))

    def _signed(self, rows: pa.Table) -> pa.Table:
        return _replace(rows, "ledger_id", pa.repeat(pa.scalar(self._ledger_id, pa.int64()), rows.num_rows))


def _with_images(rows: pa.Table, images: list[bytes | DropReason]) -> pa.Table:
    """DRAWN with its images; a row whose source has none becomes a tombstone."""
    reasons = [image if isinstance(image, DropReason) else None for image in images]
    found = [None if isinstance(image, DropReason) else image for image in images]
    rows = _replace(rows, "image", pa.array(found, pa.binary()))
    return _replace(rows, "drop_reason", pa.array(reasons, pa.string()))


def _replace(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.schema.get_field_index(name), DRAWN.field(name), column)


def feed_cpus(config: RunConfig) -> int:
    """CPUs of one actor of the feed: raw, it matches."""
    return config.compute.matcher_threads if config.feed.mode is FeedMode.RAW else 1


def apply_feed(config: RunConfig, curated: Curated, *, run_name: str) -> ray.data.Dataset:
    """One window of the stream: drawn pairs with their image's bytes. Lazy; reads another window at each iteration."""
    feed, num_cpus = config.feed, feed_cpus(config)
    num_calls = -(-feed.window_positions // feed.interleaved_shards)
    steps = ray.data.range(feed.window_positions, override_num_blocks=min(num_calls, _MAX_BLOCKS))
    return steps.repartition(target_num_rows_per_block=feed.interleaved_shards).map_batches(
        Feed,
        fn_constructor_args=(config, curated, reader_of(config, curated)),
        fn_constructor_kwargs={"run_name": run_name},
        batch_format="pyarrow",
        batch_size=feed.interleaved_shards,
        num_cpus=num_cpus,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=config.compute.feed_actors,
            max_concurrent_calls_per_actor=num_cpus,
            enable_true_multi_threading=True,
        ),
        udf_modifying_row_count=True,
    )


def reader_of(config: RunConfig, curated: Curated) -> Callable[[], ItemReader]:
    """What opens the recipe's reader, where the feed runs."""
    if config.feed.mode is FeedMode.RAW:
        return partial(RawItems, config, curated, identifier_version=identifier_version(config))
    return partial(AnnotatedItems, config, curated)
