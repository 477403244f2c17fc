"""The sample of annotations: what statements about a pool rest on that its counts alone do not allow.

It is made by one pass over the annotations, the first time that somebody asks, and belongs to the counts: a pool that
has grown has another.
"""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from metaclip_core.counting import PoolCounts
from metaclip_core.inclusion import InclusionRates, inclusion_rates, sample_pairs
from metaclip_core.records import SAMPLED, check
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.manifest import Manifest
from pipelines.selection import read_unique
from pipelines.shards import Progress
from pipelines.steady import SteadyFile

REVISION = 1
_SHARDS_PER_BATCH = 8
_BATCH_ROWS = 65_536  # of a row group, and of a table that is read
_SAMPLE = "sample.parquet"


def _sample_shards(shards: pa.Table, *, curated: Curated, rates: InclusionRates) -> pa.Table:
    return pa.concat_tables(sample_pairs(read_unique(curated, shard), rates) for shard in shards["shard"].to_pylist())


def make_sample(
    manifest: Manifest, config: RunConfig, curated: Curated, counts: PoolCounts, *, progress: Progress
) -> str:
    """The sample of a counted pool. Only where it is not there, it connects to Ray and writes it."""
    version = storage.version_of(
        "sample", REVISION, counts=curated.counts_uri.rsplit("/", 1)[-1], num_pairs=config.curation.sample_rows
    )
    uri = storage.join(storage.Layout(config.root).sample(version), _SAMPLE)
    if not storage.exists(uri):
        with connected(config.compute):
            rates = inclusion_rates(counts, num_pairs=config.curation.sample_rows)
            _write(
                uri, _apply_sample(manifest, config, curated, rates), num_shards=manifest.num_shards, progress=progress
            )
    return uri


def _apply_sample(manifest: Manifest, config: RunConfig, curated: Curated, rates: InclusionRates) -> ray.data.Dataset:
    """Shards → SAMPLED, in the order of the pool. Lazy."""
    sampled = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        _sample_shards,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated, "rates": rates},
        batch_format="pyarrow",
        batch_size=_SHARDS_PER_BATCH,
        udf_modifying_row_count=True,
    )
    sampled.context.execution_options.preserve_order = True
    return sampled


def _write(uri: str, sampled: ray.data.Dataset, *, num_shards: int, progress: Progress) -> None:
    progress("sample", 0, num_shards)
    with (
        storage.publishing(uri) as (filesystem, path),
        pq.ParquetWriter(path, SAMPLED, filesystem=filesystem, compression="zstd") as writer,
    ):
        for batch in sampled.iter_batches(batch_format="pyarrow", batch_size=_BATCH_ROWS):
            pairs = check(batch, SAMPLED, stage="sample")
            writer.write_table(pairs)
            if pairs.num_rows:
                progress("sample", pc.max(pairs["shard"]).as_py() + 1, num_shards)
    progress("sample", num_shards, num_shards)


def read_sample(uri: str, *, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of a sample, in tables that are small in memory. Raises FileNotFoundError."""
    with SteadyFile(*storage.resolve(uri)) as file:
        for batch in pq.ParquetFile(file).iter_batches(batch_size=_BATCH_ROWS, columns=columns):
            yield pa.Table.from_batches([batch])
