"""Near-duplicates of a pool: of the pairs whose images look the same the first stays, of those that deduplication left.

Rows are partitioned by the keys that images which look the same share (`metaclip_core.neighbours`), so that no process
sees more than its part; each part gives the pairs of images that are near. Which of them go is decided in one place,
at 17 bytes for each such pair, since it depends on which others have gone.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from metaclip_core.merging import extra_captions
from metaclip_core.near_groups import EDGES, Edges, find_edges, resolve
from metaclip_core.neighbours import Looks, is_complete, keys
from metaclip_core.records import EXTRA_CAPTIONS, GONE, LOOK
from pipelines import storage
from pipelines.annotate import read_annotations
from pipelines.config import RunConfig
from pipelines.config.curation import NearDuplicatePolicy
from pipelines.curated import Curated
from pipelines.deduplicate import read_first
from pipelines.hash_images import read_hashes
from pipelines.keepers import NearSummary, is_published, publish, write_captions, write_gone
from pipelines.manifest import Manifest

_log = logging.getLogger(__name__)

REVISION = 1
_SHARDS_PER_PART = 256  # some million pairs, which one worker compares
_KEYS_PER_PAIR = 16
_MAX_PARTITIONS = 64  # of one shuffle
_SHARD_BITS = 32  # an image's number is its shard and row
_READ_SHARDS = 8


def near_version(config: RunConfig, *, hashes: str, duplicates: str) -> str | None:
    """The version of what is found; None where the recipe keeps near-duplicates."""
    curation = config.curation
    if curation.near_duplicates is NearDuplicatePolicy.KEEP:
        return None
    return storage.version_of(
        "near",
        REVISION,
        hashes=hashes,
        duplicates=duplicates,
        policy=curation.near_duplicates,
        distance=curation.near_distance,
    )


def find_near_duplicates(manifest: Manifest, config: RunConfig, curated: Curated) -> None:
    """Write what goes and what keepers get, of a pool that is hashed and deduplicated. Done before, it does nothing."""
    near_uri = curated.near_uri
    if near_uri is None or is_published(near_uri):
        return
    shuffle = manifest.num_shards > _SHARDS_PER_PART
    shards = manifest.dataset(max_blocks=config.compute.shard_blocks)
    find = _find_in_parts if shuffle else _find_in_one
    edges = find(shards, config, curated, num_shards=manifest.num_shards)
    gone = _located(*resolve(edges.table))
    for_each = _for_each_group if shuffle else _for_each_value
    for_each(gone, "shard", _write_gone, near_uri=near_uri)
    if config.curation.near_duplicates is NearDuplicatePolicy.MERGE:
        captions = for_each(gone, "shard", _read_captions, annotations_uri=curated.annotations_uri)
        for_each(captions, "keeper_shard", _write_captions, near_uri=near_uri, annotations_uri=curated.annotations_uri)
    summary = _summarise(shards, curated, num_gone=gone.num_rows, num_unjudged=edges.num_unjudged)
    if summary.unreadable:
        _log.warning("%s of %d images could not be compared", summary.unreadable, summary.images)
    publish(near_uri, summary)


def _find_in_one(shards: ray.data.Dataset, config: RunConfig, curated: Curated, *, num_shards: int) -> Edges:  # noqa: ARG001 - as its twin
    """Without a shuffle, which would move everything to where it is."""
    read = shards.map_batches(
        _read_looks,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated},
        batch_format="pyarrow",
        batch_size=_READ_SHARDS,
    )
    table = pa.concat_tables(read.iter_batches(batch_format="pyarrow", batch_size=None))
    looks = Looks.from_table(table, table["image"].to_numpy())
    distance = config.curation.near_distance
    return _joined([find_edges(looks, *of_kind, distance=distance) for of_kind in keys(looks)])


def _find_in_parts(shards: ray.data.Dataset, config: RunConfig, curated: Curated, *, num_shards: int) -> Edges:
    num_parts = math.ceil(num_shards * _KEYS_PER_PAIR / _SHARDS_PER_PART)
    parts = (
        shards.map_batches(
            _read_keyed,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"curated": curated, "num_parts": num_parts},
            batch_format="pyarrow",
            batch_size=1,
        )
        .groupby("part", num_partitions=min(num_parts, _MAX_PARTITIONS))
        .map_groups(
            _find_in_part,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"distance": config.curation.near_distance},
            batch_format="pyarrow",
        )
    )
    found = []
    for part in parts.iter_rows():
        columns = [pa.array(part[field.name], field.type) for field in EDGES]
        found.append(Edges(pa.table(columns, schema=EDGES), part["num_unjudged"]))
    return _joined(found)


def _joined(found: list[Edges]) -> Edges:
    tables = [EDGES.empty_table(), *(edges.table for edges in found)]
    return Edges(pa.concat_tables(tables), sum(edges.num_unjudged for edges in found))


def _read_looks(shards: pa.Table, *, curated: Curated) -> pa.Table:
    """LOOK of what deduplication left and what decodes, with the number of its image."""
    found = [LOOK.append(pa.field("image", pa.int64())).empty_table()]
    for shard in shards["shard"].to_pylist():
        hashes = _unique_hashes(curated, shard)
        looks = hashes.filter(is_complete(hashes))
        image = looks["row"].to_numpy().astype(np.int64) | (shard << _SHARD_BITS)
        found.append(looks.select(LOOK.names).append_column("image", pa.array(image)))
    return pa.concat_tables(found)


def _unique_hashes(curated: Curated, shard: int) -> pa.Table:
    hashes = read_hashes(str(curated.hashes_uri), shard)
    rows = read_first(curated, shard, columns=["row"])["row"].combine_chunks()
    return hashes.filter(pc.is_in(hashes["row"], value_set=rows))


def _read_keyed(shards: pa.Table, *, curated: Curated, num_parts: int) -> Iterator[pa.Table]:
    """A row of `_read_looks` for each of its keys, with the key and its part."""
    table = _read_looks(shards, curated=curated)
    looks = Looks.from_table(table, table["image"].to_numpy())
    for values, rows in keys(looks):
        mixed = values * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)  # Fibonacci hashing: neighbours part
        part = (mixed % np.uint64(num_parts)).astype(np.int64)
        keyed = table.take(pa.array(rows))
        yield keyed.append_column("key", pa.array(values)).append_column("part", pa.array(part))


def _find_in_part(keyed: pa.Table, *, distance: int) -> pa.Table:
    looks = Looks.from_table(keyed, keyed["image"].to_numpy())
    edges = find_edges(looks, keyed["key"].to_numpy(), np.arange(len(looks)), distance=distance)
    lists = {
        field.name: pa.ListArray.from_arrays([0, edges.table.num_rows], edges.table[field.name].combine_chunks())
        for field in EDGES
    }
    return pa.table({**lists, "num_unjudged": [edges.num_unjudged]})


def _located(images: np.ndarray, keepers: np.ndarray) -> pa.Table:
    """Column shard and those of GONE."""
    mask = (1 << _SHARD_BITS) - 1
    columns = {
        "shard": images >> _SHARD_BITS,
        "row": images & mask,
        "keeper_shard": keepers >> _SHARD_BITS,
        "keeper_row": keepers & mask,
    }
    return pa.table({name: pa.array(column.astype(np.int32)) for name, column in columns.items()})


def _write_gone(gone: pa.Table, *, near_uri: str) -> pa.Table:
    write_gone(near_uri, gone["shard"][0].as_py(), gone.select(GONE.names).sort_by("row"))
    return gone.slice(0, 0)


def _read_captions(gone: pa.Table, *, annotations_uri: str) -> pa.Table:
    """The captions of a shard's rows that go."""
    annotated = read_annotations(annotations_uri, gone["shard"][0].as_py(), columns=["row", "captions"])
    places = pc.index_in(gone["row"], value_set=annotated["row"].combine_chunks())
    return gone.append_column("captions", annotated["captions"].take(places))


def _write_captions(captions: pa.Table, *, near_uri: str, annotations_uri: str) -> pa.Table:
    shard = captions["keeper_shard"][0].as_py()
    annotated = read_annotations(annotations_uri, shard, columns=["row", "captions"])
    others: dict[int, list[dict[str, object]]] = {}
    for pair in captions.sort_by([("shard", "ascending"), ("row", "ascending")]).to_pylist():
        others.setdefault(pair["keeper_row"], []).extend(pair["captions"])
    kept = annotated.filter(pc.is_in(annotated["row"], value_set=pa.array(others, pa.int32())))
    extra = [
        {"row": pair["row"], "captions": extra_captions(pair["captions"], others[pair["row"]])}
        for pair in kept.to_pylist()
    ]
    write_captions(near_uri, shard, pa.Table.from_pylist(extra, EXTRA_CAPTIONS))
    return captions.slice(0, 0)


def _for_each_value(table: pa.Table, column: str, apply: Callable[..., pa.Table], **options: str) -> pa.Table:
    """What `apply` makes of the rows of each value of a column, here."""
    values = pc.unique(table[column]).to_pylist()
    made = [apply(table.filter(pc.equal(table[column], value)), **options) for value in values]
    return pa.concat_tables(made) if made else table


def _for_each_group(table: pa.Table, column: str, apply: Callable[..., pa.Table], **options: str) -> pa.Table:
    """`_for_each_value` on the cluster."""
    if not table.num_rows:
        return table
    num_partitions = min(pc.count_distinct(table[column]).as_py(), _MAX_PARTITIONS)
    made = (
        ray.data.from_arrow(table)
        .groupby(column, num_partitions=num_partitions)
        .map_groups(apply, fn_kwargs=options, batch_format="pyarrow")
    )
    tables = list(made.iter_batches(batch_format="pyarrow", batch_size=None))
    return pa.concat_tables(tables) if tables else table


def _summarise(shards: ray.data.Dataset, curated: Curated, *, num_gone: int, num_unjudged: int) -> NearSummary:
    counted = shards.map_batches(
        _count_reasons,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated},
        batch_format="pyarrow",
        batch_size=_READ_SHARDS,
    )
    reasons: Counter[str | None] = Counter()
    for row in counted.iter_rows():
        reasons[row["reason"]] += row["images"]
    unreadable = {reason: count for reason, count in sorted(reasons.items(), key=str) if reason is not None}
    return NearSummary(num_gone, reasons.total(), unreadable, num_unjudged)


def _count_reasons(shards: pa.Table, *, curated: Curated) -> pa.Table:
    """Images by drop_reason; null for those that have a look."""
    hashes = pa.concat_tables(
        _unique_hashes(curated, shard).group_by(["row", "drop_reason"]).aggregate([])
        for shard in shards["shard"].to_pylist()
    )
    counted = hashes.group_by("drop_reason").aggregate([([], "count_all")])
    return counted.rename_columns({"drop_reason": "reason", "count_all": "images"})
