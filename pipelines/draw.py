"""The draw of an epoch from pairs of a shard: what both feeds read the images of, and what a finished run left over."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.draws import Purpose, uniform
from metaclip_core.positions import Positions
from metaclip_core.records import DRAWN
from metaclip_core.sampling import ProbabilityTables, draw
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.thresholds import load_tables, read_expected

_MOST_HELD_OUT = 0.1  # of what an epoch draws


@dataclass(frozen=True)
class Drawn:
    """What one epoch drew from some pairs: DRAWN without images, by row, and where each stood among the pairs."""

    rows: pa.Table
    index: npt.NDArray[np.int64]

    def take(self, chosen: npt.NDArray[np.int64]) -> Drawn:
        """Some of the rows."""
        return Drawn(self.rows.take(pa.array(chosen)), self.index[chosen])


@dataclass(frozen=True)
class HeldOut:
    """The pairs that a run is validated on and never trained: a share of some shards, by the ids of the pairs."""

    shards: frozenset[int]
    share: float


class Drawing:
    """What a run draws: the epoch's sample, but for the pairs that it holds out."""

    def __init__(self, tables: ProbabilityTables, *, seed: int, held_out: HeldOut) -> None:
        self._tables = tables
        self._seed = seed
        self._held_out = held_out

    def train(self, annotated: pa.Table, *, epoch: int) -> Drawn:
        """What an epoch trains on, of ANNOTATED of one shard or a part of it."""
        drawn = draw_rows(annotated, self._tables, epoch=epoch, seed=self._seed)
        return drawn.take(np.flatnonzero(~self._is_held_out(drawn.rows)))

    def hold_out(self, annotated: pa.Table) -> Drawn:
        """What the run is validated on: of the pairs held out, those that the first epoch would have drawn."""
        drawn = draw_rows(annotated, self._tables, epoch=0, seed=self._seed)
        return drawn.take(np.flatnonzero(self._is_held_out(drawn.rows)))

    def _is_held_out(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        if not rows.num_rows or rows["shard"][0].as_py() not in self._held_out.shards:
            return np.zeros(rows.num_rows, np.bool_)
        return uniform(rows["pair_id"], purpose=Purpose.HOLD_OUT, epoch=0, seed=self._seed) < self._held_out.share


def draw_rows(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> Drawn:
    """ANNOTATED of one shard, or a part of it, in, its drawn rows out. Pure; a row's fate depends on that row alone."""
    drawn = draw(annotated, tables, epoch=epoch, seed=seed)
    kept = annotated.select(["pair_id", "shard", "row"]).take(pa.array(drawn.row))
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
    return Drawn(rows, drawn.row)


def held_out_of(config: RunConfig, curated: Curated) -> HeldOut:
    """What a recipe's run holds out: at most a tenth of what an epoch draws from as few shards as that takes.

    Raises:
        UserError: more is to be held out than a tenth of all shards.
    """
    rows = config.training.validation_rows
    if not rows:
        return HeldOut(frozenset(), 0.0)
    drawn = sum(read_expected(curated.thresholds_uri).values())
    num_shards = math.ceil(rows / max(_MOST_HELD_OUT * drawn / curated.num_shards, 1e-9))
    if num_shards > curated.num_shards:
        raise UserError(
            f"training.validation_rows {rows:,} is more than a tenth of the {drawn:,.0f} pairs that an epoch draws"
        )
    _, shards = Positions(curated.num_shards, config.seed).locate(np.arange(num_shards))
    share = rows / (drawn / curated.num_shards * num_shards)
    return HeldOut(frozenset(shards.tolist()), share)


def open_drawing(config: RunConfig, curated: Curated) -> Drawing:
    """The drawing of a recipe's run. Raises UserError, as `held_out_of`."""
    return Drawing(load_tables(curated), seed=config.seed, held_out=held_out_of(config, curated))
