"""Export: the pairs that one epoch draws, in files for who trains elsewhere.

The draw is that of training, so an export is exactly what a run would see in that epoch. Images go out as the bytes
that the pool holds: nobody decodes them here, and what training would count as broken is exported too. The files of
pairs stand in a folder of their own, for readers that take whatever a folder holds. Each has a funnel, which is written
behind it: a killed job repeats only what it had not finished.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, repeat
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from metaclip_core.funnel import Funnel
from metaclip_core.records import EXPORTED, DropReason, Stage
from metaclip_core.sampling import ProbabilityTables, draw
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.curate import CurationResult, load_curation
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.export_files import ExportFormat, Pair, write_pairs
from pipelines.manifest import Manifest, load_manifest
from pipelines.selection import read_unique
from pipelines.shards import Progress
from pipelines.sources.base import open_source
from pipelines.thresholds import load_tables

REVISION = 1
_MARKER = "export.json"
_FUNNEL = "funnel.json"
_FUNNELS = "funnels"
_PAIRS = "pairs"
_READS_AT_ONCE = 32
_MAX_EPOCH = 2**31 - 1


@dataclass(frozen=True, kw_only=True)
class ExportSpec:
    """What is exported, and in files of how many shards of the pool.

    Raises:
        UserError: there is no such epoch, or a file has no shard.
    """

    epoch: int
    format: ExportFormat
    shards_per_file: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.epoch <= _MAX_EPOCH:
            raise UserError(f"there is no epoch {self.epoch}: epochs count from 0 to {_MAX_EPOCH}")
        if self.shards_per_file < 1:
            raise UserError(f"a file takes at least one shard of the pool, got {self.shards_per_file}")


@dataclass(frozen=True)
class Exported:
    """A finished export."""

    uri: str  # of the folder that holds the files of pairs alone
    num_pairs: int
    num_bytes: int  # of all files
    funnel: Funnel  # from shards to exported pairs


def export_pool(config: RunConfig, spec: ExportSpec, *, out_uri: str | None, progress: Progress) -> Exported:
    """Export one epoch of the recipe's curated pool; run again, it continues. Connects to Ray where nobody has yet.

    Args:
        config: the recipe.
        spec: what is exported.
        out_uri: a folder that is empty or holds this export; None: a place of its own below the root.
        progress: is told how many files are done.

    Raises:
        UserError: the pool is not curated, or the folder holds something else, can't be written to, or is in the pool.
    """
    curation = load_curation(config)
    curated = curation.curated
    made_from = {
        "pool": curated.pool,
        "thresholds": curated.version,
        "seed": config.seed,
        "epoch": spec.epoch,
        "format": spec.format,
        "shards_per_file": spec.shards_per_file,
    }
    version = storage.version_of("export", REVISION, **made_from)
    uri = storage.Layout(config.root).export(version) if out_uri is None else storage.absolute(out_uri)
    _refuse_pool(uri, config)
    _claim(uri, {"version": version, **made_from})
    marker = storage.join(uri, _FUNNEL)
    if not storage.exists(marker):
        manifest = load_manifest(config).pinned(curated.num_shards, curated.manifest_digest)
        files = _files(manifest, spec)
        with connected(config.compute):
            _write_all(files, config, curated, spec, uri=uri, progress=progress)
        funnel = _extended(curation, _sum_funnels(uri, files.num_rows))
        storage.write_json(marker, funnel.to_records())
    funnel = Funnel.from_records(storage.read_json(marker))
    pairs_uri = storage.join(uri, _PAIRS)
    num_bytes = sum(size for name, size in storage.list_sizes(pairs_uri).items() if name.endswith(spec.format.suffix))
    return Exported(pairs_uri, funnel.rows_out(Stage.EXPORT), num_bytes, funnel)


def _refuse_pool(uri: str, config: RunConfig) -> None:
    filesystem, path = storage.resolve(uri)
    pools, pool = storage.resolve(storage.absolute(config.pool.uri, base=config.root))
    if filesystem.equals(pools) and f"{path}/".startswith(f"{pool}/"):
        raise UserError(f"{uri} is in the pool, which would take the export for shards of its own: give another --out")


def _claim(uri: str, content: dict[str, Any]) -> None:
    """Write down whose folder it is, or find that it is ours."""
    marker = storage.join(uri, _MARKER)
    data = json.dumps(content, indent=1).encode()
    if storage.exists(marker):
        if storage.read_bytes(marker) != data:
            raise UserError(f"{uri} holds another export, see {_MARKER} there: give another --out")
        return
    if storage.list_names(uri):
        raise UserError(f"{uri} holds files and no export: give another --out, or empty it")
    try:
        storage.write_bytes(marker, data)
    except OSError as error:
        raise UserError(f"cannot write to {uri}: {storage.first_line(error)}") from error


def _files(manifest: Manifest, spec: ExportSpec) -> pa.Table:
    """The files to write: their number, and the shards (number, name) that go into each."""
    shards, names = (manifest.table[column].to_pylist() for column in ("shard", "name"))
    starts = range(0, manifest.num_shards, spec.shards_per_file)
    groups = [slice(start, start + spec.shards_per_file) for start in starts]
    return pa.table(
        {
            "file": pa.array(range(len(groups)), pa.int32()),
            "shards": pa.array([shards[group] for group in groups], pa.list_(pa.int32())),
            "names": pa.array([names[group] for group in groups], pa.list_(pa.string())),
        }
    )


def _write_all(
    files: pa.Table, config: RunConfig, curated: Curated, spec: ExportSpec, *, uri: str, progress: Progress
) -> None:
    there = storage.list_names(storage.join(uri, _FUNNELS))
    todo = files.filter(pa.array([_funnel_name(file) not in there for file in files["file"].to_pylist()], pa.bool_()))
    done = files.num_rows - todo.num_rows
    progress("export", done, files.num_rows)
    if not todo.num_rows:
        return
    blocks = min(todo.num_rows, config.compute.shard_blocks)
    written = ray.data.from_items(todo.to_pylist(), override_num_blocks=blocks).map_batches(
        Export,
        fn_constructor_args=(config, curated, spec),
        fn_constructor_kwargs={"uri": uri},
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
    )
    for _ in written.iter_rows():
        done += 1
        progress("export", done, files.num_rows)


class Export:
    """Writes files of drawn pairs; holds the probability tables."""

    def __init__(self, config: RunConfig, curated: Curated, spec: ExportSpec, *, uri: str) -> None:
        self._source = open_source(config)
        self._seed = config.seed
        self._curated = curated
        self._tables = load_tables(curated)
        self._spec = spec
        self._uri = uri

    def __call__(self, files: pa.Table) -> pa.Table:
        """Files to write in, their numbers out."""
        for file in files.to_pylist():
            funnel = Funnel()
            self._write(file["file"], self._pairs(file["shards"], file["names"], funnel))
            storage.write_json(storage.join(self._uri, _FUNNELS, _funnel_name(file["file"])), funnel.to_records())
        return files.select(["file"])

    def _write(self, file: int, pairs: Iterator[Pair]) -> None:
        first = next(pairs, None)
        if first is None:  # readers stumble over files without pairs
            return
        export_format = self._spec.format
        uri = storage.join(self._uri, _PAIRS, f"{file:08d}{export_format.suffix}")
        with storage.publishing(uri) as (filesystem, path):
            write_pairs(filesystem, path, chain([first], pairs), export_format=export_format)

    def _pairs(self, shards: list[int], names: list[str], funnel: Funnel) -> Iterator[Pair]:
        """Rows of EXPORTED; those whose image can't be read are counted instead."""
        for shard, name in zip(shards, names, strict=True):
            annotated = read_unique(self._curated, shard)
            drawn = draw_exported(annotated, self._tables, epoch=self._spec.epoch, seed=self._seed)
            funnel.enter(Stage.EXPORT, drawn.rows.num_rows)
            images: Iterator[bytes | DropReason | None] = repeat(None, drawn.rows.num_rows)
            if self._spec.format.has_images:
                images = self._source.read_images(name, drawn.image_offsets, drawn.image_lengths)
            for pair, image in zip(drawn.rows.to_pylist(), images, strict=True):
                if isinstance(image, DropReason):
                    funnel.drop(Stage.EXPORT, image)
                else:
                    yield {**pair, "image": image}


@dataclass(frozen=True)
class _Drawn:
    """EXPORTED without images, and the place of each image."""

    rows: pa.Table
    image_offsets: list[int]
    image_lengths: list[int]


def draw_exported(annotated: pa.Table, tables: ProbabilityTables, *, epoch: int, seed: int) -> _Drawn:
    """ANNOTATED of one shard in, what the epoch draws from it out, by row. Pure."""
    drawn = draw(annotated, tables, epoch=epoch, seed=seed)
    kept = annotated.take(pa.array(drawn.row))
    captions = kept["captions"].combine_chunks()
    starts = captions.offsets.to_numpy()[:-1] - captions.offsets[0].as_py()
    columns = {name: kept[name] for name in ("pair_id", "url", "shard", "row")} | {
        "epoch": pa.array(np.full(kept.num_rows, epoch), pa.int32()),
        "kind": captions.flatten().field("kind").take(pa.array(starts + drawn.caption_index)),
        "caption": drawn.caption,
        "caption_index": pa.array(drawn.caption_index, pa.int32()),
        "language": drawn.language,
        "image": pa.nulls(kept.num_rows, pa.binary()),
    }
    rows = pa.table({name: columns[name] for name in EXPORTED.names}, schema=EXPORTED)
    return _Drawn(rows, kept["image_offset"].to_pylist(), kept["image_length"].to_pylist())


def _sum_funnels(uri: str, num_files: int) -> Funnel:
    total = Funnel()
    uris = [storage.join(uri, _FUNNELS, _funnel_name(file)) for file in range(num_files)]
    with ThreadPoolExecutor(_READS_AT_ONCE) as threads:
        for records in threads.map(storage.read_json, uris):
            total.add(Funnel.from_records(records))
    return total


def _extended(curation: CurationResult, exported: Funnel) -> Funnel:
    """The funnel from shards to exported pairs."""
    funnel = Funnel().add(curation.funnel)
    num_matched, num_drawn = funnel.rows_out(Stage.MATCH), exported.rows_in[Stage.EXPORT]
    funnel.enter(Stage.DRAW, num_matched)
    funnel.drop(Stage.DRAW, DropReason.NOT_DRAWN, num_matched - num_drawn)
    return funnel.add(exported)


def _funnel_name(file: int) -> str:
    return f"{file:08d}.json"
