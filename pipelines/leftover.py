"""What a finished run leaves over: rows that were drawn in an item it had begun, and that no full batch needed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import ray

from metaclip_core.ledger import Ledger
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.draw import open_drawing
from pipelines.selection import read_unique

_POSITIONS_PER_BATCH = 8


class LeftOver:
    """Positions → rows that the ledger says have not ended."""

    def __init__(self, config: RunConfig, curated: Curated, ledger: pa.Table) -> None:
        self._curated = curated
        self._ledger = Ledger.from_table(ledger)
        self._drawing = open_drawing(config, curated)

    def __call__(self, positions: pa.Table) -> pa.Table:
        """Columns epoch, shard and row."""
        return pa.concat_tables(self._rows(position) for position in positions["position"].to_pylist())

    def _rows(self, position: int) -> pa.Table:
        epochs, shards = self._ledger.order.locate([position])
        annotated = read_unique(self._curated, int(shards[0]))
        rows = self._drawing.train(annotated, epoch=int(epochs[0])).rows
        left = ~self._ledger.has_ended(position, rows["row"].to_numpy().astype(np.int64))
        return rows.select(["epoch", "shard", "row"]).filter(pa.array(left))


def find_leftover(config: RunConfig, curated: Curated, ledger: Ledger) -> pa.Table:
    """Rows (epoch, shard, row) before the ledger's frontier that have not ended. Needs a Ray cluster."""
    pending = ledger.pending()
    schema = pa.schema([("epoch", pa.int32()), ("shard", pa.int32()), ("row", pa.int32())])
    if not len(pending):
        return schema.empty_table()
    blocks = min(-(-len(pending) // _POSITIONS_PER_BATCH), config.compute.shard_blocks)
    found = ray.data.from_items(
        [{"position": position} for position in pending.tolist()], override_num_blocks=blocks
    ).map_batches(
        LeftOver,
        fn_constructor_args=(config, curated, ledger.to_table()),
        batch_format="pyarrow",
        batch_size=_POSITIONS_PER_BATCH,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
        udf_modifying_row_count=True,
    )
    tables = list(found.iter_batches(batch_format="pyarrow", batch_size=None))
    rows = pa.concat_tables([schema.empty_table(), *tables])
    return rows.sort_by([("epoch", "ascending"), ("shard", "ascending"), ("row", "ascending")])
