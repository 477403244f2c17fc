"""Counting on the cluster: workers sum up shards, the driver adds the sums.

The driver holds one int64 per metadata entry, so that its memory follows the metadata and not the pool; no shuffle
moves the matches.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from metaclip_core.counting import Measure, PoolCounts, tally
from metaclip_core.funnel import Funnel
from metaclip_core.metadata.store import read_entries, read_manifest
from metaclip_core.records import COUNTS, DropReason, Stage
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.keepers import read_summary
from pipelines.manifest import Manifest
from pipelines.selection import read_unique
from pipelines.shards import read_funnel
from pipelines.steady import SteadyFile

REVISION = 1
_SHARDS_PER_BATCH = 8
_COUNTS = "counts.parquet"
_SUMS = "sums.parquet"
_FUNNEL = "funnel.json"


def _count_shards(shards: pa.Table, *, curated: Curated) -> pa.Table:
    """TALLY of some shards, and in its first row the funnels of their annotation and of their screening, if any."""
    numbers = shards["shard"].to_pylist()
    table = tally(pa.concat_tables(read_unique(curated, shard, columns=["row", "captions"]) for shard in numbers))
    for name, folder_uri in (("annotated", curated.annotations_uri), ("screened", curated.screens_uri)):
        funnel = Funnel()
        for shard in numbers if folder_uri else []:
            funnel.add(read_funnel(str(folder_uri), shard))
        column = pa.array([funnel.to_json()] + [None] * (table.num_rows - 1), pa.string())
        table = table.append_column(name, column)
    return table


def count(manifest: Manifest, config: RunConfig, curated: Curated) -> None:
    """Write counts, sums and funnel of a pool that is deduplicated. Done before, it does nothing."""
    marker = storage.join(curated.counts_uri, _FUNNEL)
    if storage.exists(marker):
        return
    counted = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        _count_shards,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"curated": curated},
        batch_format="pyarrow",
        batch_size=_SHARDS_PER_BATCH,
    )
    pool = PoolCounts.zero(read_manifest(*storage.resolve(curated.metadata_uri)).num_entries)
    funnels = {"annotated": Funnel(), "screened": Funnel()}
    batches: Iterable[Any] = counted.iter_batches(batch_format="pyarrow", batch_size=None)
    for batch in batches:
        pool.add(batch)
        for name, funnel in funnels.items():
            for content in batch[name].drop_null().to_pylist():
                funnel.add(Funnel.from_json(content))
    num_near = read_summary(curated.near_uri).near_duplicates if curated.near_uri else None
    write_counts(pool, counts_uri=curated.counts_uri, metadata_uri=curated.metadata_uri)
    storage.write_json(marker, _join(**funnels, pool=pool, num_near=num_near).to_records())


def _join(*, annotated: Funnel, screened: Funnel, pool: PoolCounts, num_near: int | None) -> Funnel:
    """The pool's funnel: that of its shards, and what no shard alone can know.

    Args:
        annotated: of all shards.
        screened: likewise; empty where nothing is screened.
        pool: what was counted.
        num_near: near-duplicates that went; None where none were looked for.
    """
    funnel = Funnel().add(annotated).add(screened)
    last = screened.to_records()[-1:]
    num_left = last[0]["rows_out"] if last else annotated.rows_out(Stage.READ)
    num_unique = pool.total(Measure.PAIRS)
    num_first = num_unique + (num_near or 0)
    funnel.enter(Stage.DEDUPLICATE, num_left)
    funnel.drop(Stage.DEDUPLICATE, DropReason.DUPLICATE, num_left - num_first)
    if num_near is not None:
        funnel.enter(Stage.NEAR, num_first)
        funnel.drop(Stage.NEAR, DropReason.NEAR_DUPLICATE, num_near)
    funnel.enter(Stage.MATCH, num_unique)
    funnel.drop(Stage.MATCH, DropReason.NO_MATCH, num_unique - pool.total(Measure.MATCHED_PAIRS))
    return funnel


def write_counts(pool: PoolCounts, *, counts_uri: str, metadata_uri: str) -> None:
    """Store the sums of a pool, each entry's beside its text; holds the texts of one language at a time."""
    metadata = storage.resolve(metadata_uri)
    sums = [
        {"measure": measure, "language": language, "count": total} for (measure, language), total in pool.sums.items()
    ]
    storage.write_table(storage.join(counts_uri, _SUMS), pa.Table.from_pylist(sorted(sums, key=str)))
    with (
        storage.publishing(storage.join(counts_uri, _COUNTS)) as (filesystem, path),
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
    """The sums of a counted pool. While it reads, it holds little more than the int64 of each entry."""
    parts: dict[str, list[npt.NDArray[np.int64]]] = {}
    with SteadyFile(*storage.resolve(storage.join(counts_uri, _COUNTS))) as file:
        counts = pq.ParquetFile(file, read_dictionary=["language"])
        for batch in counts.iter_batches(columns=["language", "count"]):
            languages = batch["language"]
            index = languages.indices.to_numpy()
            starts = np.flatnonzero(np.diff(index, prepend=-1))  # the rows of a language stand together, by entry id
            names = languages.dictionary.take(languages.indices.take(pa.array(starts))).to_pylist()
            for language, part in zip(names, np.split(batch["count"].to_numpy(), starts[1:]), strict=True):
                parts.setdefault(language, []).append(part)
    pool = PoolCounts({language: np.concatenate(parts.pop(language)) for language in list(parts)})
    for row in storage.read_table(storage.join(counts_uri, _SUMS)).to_pylist():
        pool.sums[row["measure"], row["language"]] = row["count"]
    return pool


def read_names(counts_uri: str, wanted: Mapping[str, Sequence[int]]) -> dict[str, dict[int, str]]:
    """The names of some entries, by language and entry id; holds a part of one language at a time.

    Args:
        counts_uri: of a counted pool.
        wanted: entry ids by language.
    """
    names: dict[str, dict[int, str]] = {language: {} for language in wanted}
    starts: Counter[str] = Counter()
    with SteadyFile(*storage.resolve(storage.join(counts_uri, _COUNTS))) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group)
            language = rows.column(COUNTS.get_field_index("language")).statistics.min  # a group is of one language
            start, stop = starts[language], starts[language] + rows.num_rows
            starts[language] = stop
            ids = [entry for entry in wanted.get(language, []) if start <= entry < stop]
            if ids:
                entries = parquet.read_row_group(group, columns=["entry"])["entry"]
                taken = entries.take(pa.array([entry - start for entry in ids]))
                names[language].update(zip(ids, taken.to_pylist(), strict=True))
    return names


def read_pool_funnel(counts_uri: str) -> Funnel:
    """The funnel of a counted pool, from shards to matched pairs."""
    return Funnel.from_records(storage.read_json(storage.join(counts_uri, _FUNNEL)))
