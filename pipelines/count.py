"""Counting on the cluster: workers sum up shards, the driver adds the sums.

The driver holds one int64 per metadata entry, so that its memory follows the metadata and not the pool; no shuffle
moves the matches.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray

from metaclip_core.counting import Measure, PoolCounts, tally
from metaclip_core.funnel import Funnel
from metaclip_core.metadata.store import read_entries, read_manifest
from metaclip_core.records import COUNTS, DropReason, Stage
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.deduplicate import read_unique
from pipelines.manifest import Manifest
from pipelines.shards import read_funnel

REVISION = 1
_SHARDS_PER_BATCH = 8
_COUNTS = "counts.parquet"
_SUMS = "sums.parquet"
_FUNNEL = "funnel.json"


def _tally_shards(shards: pa.Table, *, curated: Curated) -> pa.Table:
    return tally(
        pa.concat_tables(
            read_unique(curated, shard, columns=["row", "captions"]) for shard in shards["shard"].to_pylist()
        )
    )


def _read_funnels(shards: pa.Table, *, folder_uris: list[str]) -> pa.Table:
    funnels = {folder_uri: Funnel() for folder_uri in folder_uris}
    for shard in shards["shard"].to_pylist():
        for folder_uri, funnel in funnels.items():
            funnel.add(read_funnel(folder_uri, shard))
    return pa.table({"folder_uri": folder_uris, "funnel": [funnel.to_json() for funnel in funnels.values()]})


def _sum_funnels(shards: ray.data.Dataset, folder_uris: list[str]) -> list[Funnel]:
    """The funnel of all shards in each step that wrote one of the folders."""
    sums = shards.map_batches(
        _read_funnels,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"folder_uris": folder_uris},
        batch_format="pyarrow",
        batch_size=_SHARDS_PER_BATCH,
    )
    funnels = {folder_uri: Funnel() for folder_uri in folder_uris}
    for row in sums.iter_rows():
        funnels[row["folder_uri"]].add(Funnel.from_json(row["funnel"]))
    return list(funnels.values())


def count(manifest: Manifest, config: RunConfig, curated: Curated) -> None:
    """Write counts, sums and funnel of a pool that is deduplicated. Done before, it does nothing."""
    marker = storage.join(curated.counts_uri, _FUNNEL)
    if storage.exists(marker):
        return
    shards = manifest.dataset(max_blocks=config.compute.shard_blocks)
    tallies = shards.map_batches(
        _tally_shards,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated},
        batch_format="pyarrow",
        batch_size=_SHARDS_PER_BATCH,
    )
    filesystem, path = storage.resolve(curated.metadata_uri)
    num_entries = read_manifest(filesystem, path).num_entries
    pool = PoolCounts.zero(num_entries)
    for batch in tallies.iter_batches(batch_format="pyarrow", batch_size=None):
        pool.add(batch)
    folder_uris = [uri for uri in (curated.annotations_uri, curated.screens_uri) if uri]
    funnel = _join(_sum_funnels(shards, folder_uris), pool)
    _write_counts(curated, pool)
    storage.write_json(marker, funnel.to_records())


def _join(funnels: list[Funnel], pool: PoolCounts) -> Funnel:
    """The pool's funnel: that of the annotations, of the screens if there are any, and what no shard alone can know."""
    annotated, *screens = funnels
    funnel = Funnel().add(annotated)
    num_left, num_unique = annotated.rows_out(Stage.READ), pool.total(Measure.PAIRS)
    for screened in screens:
        funnel.add(screened)
        num_left = screened.to_records()[-1]["rows_out"]
    funnel.enter(Stage.DEDUPLICATE, num_left)
    funnel.drop(Stage.DEDUPLICATE, DropReason.DUPLICATE, num_left - num_unique)
    funnel.enter(Stage.MATCH, num_unique)
    funnel.drop(Stage.MATCH, DropReason.NO_MATCH, num_unique - pool.total(Measure.MATCHED_PAIRS))
    return funnel


def _write_counts(curated: Curated, pool: PoolCounts) -> None:
    metadata = storage.resolve(curated.metadata_uri)
    sums = [
        {"measure": measure, "language": language, "count": total} for (measure, language), total in pool.sums.items()
    ]
    storage.write_table(storage.join(curated.counts_uri, _SUMS), pa.Table.from_pylist(sorted(sums, key=str)))
    with (
        storage.publishing(storage.join(curated.counts_uri, _COUNTS)) as (filesystem, path),
        pq.ParquetWriter(path, COUNTS, filesystem=filesystem, compression="zstd") as writer,
    ):
        for language, counts in sorted(pool.matches.items()):
            size = len(counts)
            columns = [
                pa.repeat(language, size),
                pa.array(np.arange(size), pa.int32()),
                read_entries(*metadata, language),
                pa.array(counts),
            ]
            writer.write_table(pa.table(columns, schema=COUNTS))


def read_counts(counts_uri: str) -> PoolCounts:
    """The sums of a counted pool."""
    table = storage.read_table(storage.join(counts_uri, _COUNTS), columns=["language", "count"])
    languages = table["language"].combine_chunks().dictionary_encode()
    # the rows of a language stand together, ordered by entry id
    starts = np.flatnonzero(np.diff(languages.indices.to_numpy(), prepend=-1))
    counts = np.split(table["count"].to_numpy(), starts[1:])
    pool = PoolCounts(dict(zip(languages.dictionary.to_pylist(), counts, strict=True)))
    for row in storage.read_table(storage.join(counts_uri, _SUMS)).to_pylist():
        pool.sums[row["measure"], row["language"]] = row["count"]
    return pool


def read_pool_funnel(counts_uri: str) -> Funnel:
    """The funnel of a counted pool, from shards to matched pairs."""
    return Funnel.from_records(storage.read_json(storage.join(counts_uri, _FUNNEL)))
