"""The held-out pairs of a run: collected once, from few shards, before its first step."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from metaclip_core.draws import Purpose, uniform
from metaclip_core.images import decode
from metaclip_core.records import DropReason
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.draw import held_out_of
from pipelines.feed_annotated import AnnotatedItems
from pipelines.manifest import Manifest

_COLUMNS = ["pair_id", "shard", "row", "caption", "language"]


def write_held_out(config: RunConfig, curated: Curated, manifest: Manifest, *, uri: str) -> int:
    """Store the pairs that a run is validated on, in an order that mixes their shards; how many they are.

    A pair whose image fails is left out. All images are held here at once.
    """
    items = AnnotatedItems(config, curated)
    names = manifest.table["name"].to_pylist()
    tables = [_read(items, names[shard], shard, config) for shard in sorted(held_out_of(config, curated).shards)]
    found = pa.concat_tables(tables)
    order = np.argsort(uniform(found["pair_id"], purpose=f"{Purpose.HOLD_OUT}/order", epoch=0, seed=config.seed))
    storage.write_table(uri, found.take(pa.array(order)))
    return int(found.num_rows)


def _read(items: AnnotatedItems, name: str, shard: int, config: RunConfig) -> pa.Table:
    pairs = items.read_held_out(name, shard=shard)
    images = list(pairs.images(range(pairs.table.num_rows)))
    sound = [row for row, image in enumerate(images) if _is_sound(image, max_pixels=config.feed.max_pixels)]
    column = pa.array([images[row] for row in sound], pa.binary())
    return pairs.table.select(_COLUMNS).take(pa.array(sound, pa.int64())).append_column("image", column)


def _is_sound(image: bytes | DropReason, *, max_pixels: int) -> bool:
    if isinstance(image, DropReason):
        return False
    return not isinstance(decode(image, image_size=1, max_pixels=max_pixels, crop=None), DropReason)
