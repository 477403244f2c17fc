"""Deduplication: of the pairs with one id, the first shard and row counts and is trained on; the others are skipped.

Pairs that are left out for what they are have no part in it.

Pair ids are hash-partitioned, so that no process sees more than its part. What is stored is small: for each shard with
duplicates, the rows to skip.
"""

from __future__ import annotations

import math

import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.records import PAIR
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.curation import DuplicatePolicy
from pipelines.curated import Curated
from pipelines.manifest import Manifest
from pipelines.screen import read_screened, without_rows

REVISION = 1
_SHARDS_PER_PART = 512  # some million pairs, which one process sorts
_MAX_PARTITIONS = 64  # of one shuffle
_MARKER = "manifest.json"
_IDS = pa.schema([*(PAIR.field(name) for name in ("pair_id", "shard", "row")), ("part", pa.string())])


def find_duplicates(pairs: pa.Table) -> pa.Table:
    """The rows (shard, row) of all but the first pair of each id. Pure; in any order."""
    order = pc.sort_indices(pairs, sort_keys=[("pair_id", "ascending"), ("shard", "ascending"), ("row", "ascending")])
    pairs = pairs.take(order)
    ids = pairs["pair_id"].combine_chunks()
    again = pc.equal(ids[1:], ids[:-1]) if len(ids) > 1 else pa.array([], pa.bool_())
    first = pa.array([False] * min(len(ids), 1), pa.bool_())
    return pairs.select(["shard", "row"]).filter(pa.concat_arrays([first, again]))


def _read_ids(shards: pa.Table, *, curated: Curated, num_digits: int) -> pa.Table:
    columns = ["pair_id", "shard", "row"]
    of_shards = (read_screened(curated, shard, columns=columns) for shard in shards["shard"].to_pylist())
    pairs = pa.concat_tables(of_shards).replace_schema_metadata()  # the funnel of whatever shard came first
    return pairs.append_column("part", pc.utf8_slice_codeunits(pairs["pair_id"], 0, num_digits))


def _write_duplicates(rows: pa.Table, *, duplicates_uri: str) -> pa.Table:
    shard = rows["shard"][0].as_py()
    skipped = rows.select(["row"]).sort_by("row")
    storage.write_table(storage.shard_file(duplicates_uri, shard), skipped)
    return pa.table({"duplicates": [rows.num_rows]})


def deduplicate(manifest: Manifest, config: RunConfig, curated: Curated) -> None:
    """Write the duplicates of a pool whose shards are all annotated and screened. Done before, it does nothing."""
    marker = storage.join(curated.duplicates_uri, _MARKER)
    if storage.exists(marker):
        return
    total = 0
    if config.curation.duplicates is DuplicatePolicy.FIRST:
        total = _write_all(manifest, config, curated)
    storage.write_json(marker, {"duplicates": total, "policy": config.curation.duplicates})


def _write_all(manifest: Manifest, config: RunConfig, curated: Curated) -> int:
    num_digits = math.ceil(math.log(max(1, manifest.num_shards / _SHARDS_PER_PART), 16))
    ids = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        _read_ids,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated, "num_digits": num_digits},
        batch_format="pyarrow",
        batch_size=8,
    )
    if not num_digits:  # one part: a shuffle would move it to where it is
        batches = ids.iter_batches(batch_format="pyarrow", batch_size=None)  # none at all where no pair is left
        rows = find_duplicates(pa.concat_tables([_IDS.empty_table(), *batches]))
        for shard in pc.unique(rows["shard"]).to_pylist():
            of_shard = rows.filter(pc.equal(rows["shard"], shard))
            _write_duplicates(of_shard, duplicates_uri=curated.duplicates_uri)
        return int(rows.num_rows)
    written = (
        ids.groupby("part", num_partitions=min(16**num_digits, _MAX_PARTITIONS))
        .map_groups(find_duplicates, batch_format="pyarrow")
        .groupby("shard", num_partitions=min(manifest.num_shards, _MAX_PARTITIONS))
        .map_groups(
            _write_duplicates,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"duplicates_uri": curated.duplicates_uri},
            batch_format="pyarrow",
        )
    )
    return sum(int(row["duplicates"]) for row in written.iter_rows())


def read_duplicates(curated: Curated, shard: int) -> pa.Array:
    """The rows of a shard whose id an earlier pair has: int32, ascending."""
    try:
        skipped = storage.read_table(storage.shard_file(curated.duplicates_uri, shard))
    except FileNotFoundError:
        return pa.array([], pa.int32())
    return skipped["row"].combine_chunks()


def read_first(curated: Curated, shard: int, *, columns: list[str]) -> pa.Table:
    """The annotations of a shard without the pairs whose id an earlier one has; row is one of the columns."""
    annotated = read_screened(curated, shard, columns=columns)
    return without_rows(annotated, read_duplicates(curated, shard))
