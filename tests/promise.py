"""What a run should have drawn, in a plain loop."""

import numpy as np

from pipelines.curate import load_curation
from pipelines.draw import open_drawing
from pipelines.selection import read_unique


def drawn_before(config, ledger):
    """Every row (epoch, shard, row) that items before the ledger's frontier drew for training."""
    curated = load_curation(config).curated
    drawing = open_drawing(config, curated)
    rows = set()
    for epoch, shard in zip(*ledger.order.locate(np.arange(ledger.frontier)), strict=True):
        annotated = read_unique(curated, int(shard))
        drawn = drawing.train(annotated, epoch=int(epoch)).rows
        rows |= {(int(epoch), int(shard), row) for row in drawn["row"].to_pylist()}
    return rows
