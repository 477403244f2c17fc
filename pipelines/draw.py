"""The draw of an epoch from pairs of a shard: what both feeds read the images of, and what a finished run left over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.records import DRAWN
from metaclip_core.sampling import ProbabilityTables, draw


@dataclass(frozen=True)
class Drawn:
    """What one epoch drew from some pairs: DRAWN without images, by row, and where each stood among the pairs."""

    rows: pa.Table
    index: npt.NDArray[np.int64]


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
