"""The feed: positions of the stream → drawn pairs with the bytes of their image.

For each (epoch, shard) the stored annotations are joined, the epoch's draw is made, rows that have ended are skipped,
and only the kept images are read, in ranged requests. The shards of one call are interleaved in chunks, so that a batch
mixes them without a large buffer. Behind the last row of an item comes its closing tombstone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray

from metaclip_core.ledger import Ledger
from metaclip_core.records import DRAWN, DropReason
from metaclip_core.sampling import ProbabilityTables, draw
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.deduplicate import read_unique
from pipelines.manifest import load_manifest
from pipelines.sources.base import Source, open_source
from pipelines.thresholds import load_tables
from pipelines.window import WindowState, window_of

_MAX_BLOCKS = 2_000  # Ray Data plans every read task before the first row
_CLOSING_ROW = -1


@dataclass(frozen=True)
class DrawnItem:
    """What one epoch drew from one shard: DRAWN without images, by row, and the place of each image."""

    rows: pa.Table
    image_offsets: npt.NDArray[np.int64]
    image_lengths: npt.NDArray[np.int64]


def draw_item(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> DrawnItem:
    """ANNOTATED of one shard in, its drawn rows out. Pure; a row's fate depends on that row alone."""
    drawn = draw(annotated, tables, epoch=epoch, seed=seed)
    kept = annotated.take(pa.array(drawn.row))
    size = kept.num_rows
    columns = {
        "pair_id": kept["pair_id"],
        "epoch": pa.array(np.full(size, epoch), pa.int32()),
        "shard": kept["shard"],
        "row": kept["row"],
        "caption": drawn.caption,
        "language": drawn.language,
    }
    missing = {field.name: pa.nulls(size, field.type) for field in DRAWN if field.name not in columns}
    rows = pa.table({field.name: {**columns, **missing}[field.name] for field in DRAWN}, schema=DRAWN)
    return DrawnItem(rows, kept["image_offset"].to_numpy(), kept["image_length"].to_numpy())


class Feed:
    """Positions in, DRAWN out; holds the probability tables and the ledger that the run started from."""

    def __init__(self, config: RunConfig, curated: Curated, *, run_name: str) -> None:
        manifest = load_manifest(config).pinned(curated.num_shards, curated.manifest_digest)
        self._names = manifest.table["name"].to_pylist()
        self._config = config
        self._curated = curated
        self._source: Source = open_source(config)
        self._tables = load_tables(curated)
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
        annotated = read_unique(self._curated, shard)
        item = draw_item(annotated, self._tables, epoch=epoch, seed=self._config.seed)
        todo = np.flatnonzero(~self._ledger.has_ended(position, item.rows["row"].to_numpy().astype(np.int64)))
        chunk_rows = self._config.feed.chunk_rows
        images = self._source.read_images(
            self._names[shard], item.image_offsets[todo].tolist(), item.image_lengths[todo].tolist()
        )
        for start in range(0, len(todo), chunk_rows):
            chunk = todo[start : start + chunk_rows]
            yield self._signed(_with_images(item.rows.take(pa.array(chunk)), list(islice(images, len(chunk)))))
        closing = {
            "epoch": epoch,
            "shard": shard,
            "row": _CLOSING_ROW,
            "drop_reason": DropReason.ITEM_END,
            "drawn_in_item": item.rows.num_rows,
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


def apply_feed(config: RunConfig, curated: Curated, *, run_name: str) -> ray.data.Dataset:
    """One window of the stream: drawn pairs with their image's bytes. Lazy; reads another window at each iteration."""
    feed = config.feed
    num_calls = -(-feed.window_positions // feed.interleaved_shards)
    steps = ray.data.range(feed.window_positions, override_num_blocks=min(num_calls, _MAX_BLOCKS))
    return steps.repartition(target_num_rows_per_block=feed.interleaved_shards).map_batches(
        Feed,
        fn_constructor_args=(config, curated),
        fn_constructor_kwargs={"run_name": run_name},
        batch_format="pyarrow",
        batch_size=feed.interleaved_shards,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.feed_actors),
        udf_modifying_row_count=True,
    )
