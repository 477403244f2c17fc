"""Captions as a run will see them: some of those that the first epoch draws, for a tokenizer to be trained on."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import ray

from metaclip_core.draws import uniform
from metaclip_core.sampling import draw
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.selection import read_unique
from pipelines.thresholds import load_tables

_PURPOSE = "tokenizer"
_EPOCH = 0


class DrawCaptions:
    """Shards → some of the captions that the first epoch draws."""

    def __init__(self, curated: Curated, *, seed: int, share: float) -> None:
        self._curated = curated
        self._tables = load_tables(curated)
        self._seed = seed
        self._share = share

    def __call__(self, shards: pa.Table) -> pa.Table:
        """A column `caption`."""
        return pa.concat_tables(self._captions(shard) for shard in shards["shard"].to_pylist())

    def _captions(self, shard: int) -> pa.Table:
        annotated = read_unique(self._curated, shard, columns=["pair_id", "row", "captions"])
        drawn = draw(annotated, self._tables, epoch=_EPOCH, seed=self._seed)
        ids = annotated["pair_id"].take(pa.array(drawn.row))
        chosen = uniform(ids, purpose=_PURPOSE, epoch=_EPOCH, seed=self._seed) < self._share
        return pa.table({"caption": drawn.caption.filter(pa.array(np.asarray(chosen, bool)))})


def apply_draw_captions(
    shards: ray.data.Dataset, config: RunConfig, curated: Curated, *, share: float
) -> ray.data.Dataset:
    """Shards → a column `caption`, of about `share` of the pairs that are drawn. Lazy."""
    return shards.map_batches(
        DrawCaptions,
        fn_constructor_args=(curated,),
        fn_constructor_kwargs={"seed": config.seed, "share": share},
        batch_format="pyarrow",
        batch_size=8,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
        udf_modifying_row_count=True,
    )
