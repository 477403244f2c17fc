"""The link table of a crawl: WAT files → one row for each image, with all that pages call it.

Two steps, each of atomic files, so that a killed job repeats only what it had not finished. A WAT file becomes a
parquet file of its links, in runs that are combined and sorted. Then the table is made in parts, each a range of pair
ids: a window of parts is read from all files, which skip what is out of range, and shuffled to one task for each part.
So the memory of a task is a part, however large the crawl. Links combine in any order (`metaclip_core.links`).
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray

from metaclip_core.funnel import Funnel
from metaclip_core.links import merge_links, with_caption
from metaclip_core.records import LINK, DropReason, Stage
from metaclip_core.wat import LinkLimits
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.shards import Progress
from pipelines.sources.wat import SUFFIX, check_installed, read_wat
from pipelines.steady import SteadyFile

REVISION = 1
_FUNNEL = b"funnel"
_FUNNEL_FILE = "funnel.json"
_FUNNELS_SUMMED = 64  # by one call
_STREAM_BUFFER = 1 << 20
_PART_ROWS = 1 << 19  # that one task combines
_WINDOW_PARTS = 64  # of one shuffle
_ROW_GROUP_ROWS = 1 << 15  # of a file's links: the least that a part reads


@dataclass(frozen=True)
class LinkTable:
    """A finished link table."""

    uri: str
    num_links: int
    funnel: Funnel


def make_links(config: RunConfig, *, wat_uri: str, out_uri: str, progress: Progress) -> LinkTable:
    """Make the link table of the WAT files at `wat_uri` under `out_uri`; run again, it continues.

    Captions are limited as those of the recipe's pool.

    Raises:
        UserError: no such files, a store that does not answer, or the extra is not installed.
    """
    check_installed()
    limits = LinkLimits(max_caption_chars=config.pool.max_caption_chars)
    files = list_files(wat_uri, out_uri, limits)
    made_from = {"files": files["links_uri"].to_pylist(), "part_rows": _PART_ROWS}
    uri = storage.Layout(out_uri).links(storage.version_of("links", REVISION, **made_from))
    marker = storage.join(uri, _FUNNEL_FILE)
    if not storage.exists(marker):
        with connected(config.compute):
            _read_all(files, config, wat_uri, limits, progress)
            funnel = _sum_funnels(files, config)
            num_links = _merge_all(files, config, funnel.rows_out(Stage.LINKS), uri, progress)
        funnel.enter(Stage.DEDUPLICATE, funnel.rows_out(Stage.LINKS))
        funnel.drop(Stage.DEDUPLICATE, DropReason.DUPLICATE, funnel.rows_out(Stage.LINKS) - num_links)
        storage.write_json(marker, funnel.to_records())
    funnel = Funnel.from_records(storage.read_json(marker))
    return LinkTable(uri, funnel.rows_out(Stage.DEDUPLICATE), funnel)


def list_files(wat_uri: str, out_uri: str, limits: LinkLimits) -> pa.Table:
    """The WAT files at a URI (one, or those of a folder at any depth) by name: path, links_uri.

    `links_uri` is where a file's links lie, or will lie: its version hashes the file's name, size and time, and the
    limits.

    Raises:
        UserError: there are none, or the store does not answer.
    """
    filesystem, root = storage.resolve(wat_uri)
    try:
        here = filesystem.get_file_info(root)
        infos = [here] if here.is_file else filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
    except FileNotFoundError as error:
        raise UserError(f"no such folder: {wat_uri}") from error
    except OSError as error:
        raise UserError(f"{wat_uri} cannot be listed: {storage.first_line(error)}") from error
    found = sorted((info for info in infos if info.is_file and info.path.endswith(SUFFIX)), key=lambda info: info.path)
    if not found:
        raise UserError(f"{wat_uri} holds no *{SUFFIX} file")
    rows = []
    for info in found:
        made_from = {"name": info.path[len(root) :], "size": info.size, "time": info.mtime_ns, "limits": asdict(limits)}
        uri = storage.Layout(out_uri).crawl_file(storage.version_of("wat", REVISION, **made_from))
        rows.append({"path": info.path, "links_uri": uri})
    return pa.Table.from_pylist(rows)


def _dataset(files: pa.Table, config: RunConfig) -> ray.data.Dataset:
    blocks = min(files.num_rows, config.compute.shard_blocks)
    return ray.data.from_items(files.to_pylist(), override_num_blocks=blocks)


def _read_all(files: pa.Table, config: RunConfig, wat_uri: str, limits: LinkLimits, progress: Progress) -> None:
    folder = files["links_uri"][0].as_py().rpartition("/")[0]
    names = storage.list_names(folder)
    todo = files.filter([uri.rpartition("/")[2] not in names for uri in files["links_uri"].to_pylist()])
    done = files.num_rows - todo.num_rows
    progress("read", done, files.num_rows)
    if not todo.num_rows:
        return
    read = _dataset(todo, config).map_batches(
        _read_files,  # type: ignore[arg-type] # Ray types no keyword arguments
        fn_kwargs={"wat_uri": wat_uri, "limits": limits},
        batch_format="pyarrow",
        batch_size=1,
    )
    for _ in read.iter_rows():
        done += 1
        progress("read", done, files.num_rows)


def _read_files(files: pa.Table, *, wat_uri: str, limits: LinkLimits) -> pa.Table:
    check_installed()  # on this node too
    filesystem, _ = storage.resolve(wat_uri)
    for file in files.to_pylist():
        funnel = Funnel()
        with (
            io.BufferedReader(SteadyFile(filesystem, file["path"]), _STREAM_BUFFER) as stream,
            storage.publishing(file["links_uri"]) as (out, path),
            pq.ParquetWriter(path, LINK, filesystem=out, compression="zstd") as writer,
        ):
            for run in read_wat(stream, limits=limits, funnel=funnel):
                writer.write_table(run, row_group_size=_ROW_GROUP_ROWS)
            writer.add_key_value_metadata({_FUNNEL.decode(): funnel.to_json()})
    return files.select(["links_uri"])


def _sum_funnels(files: pa.Table, config: RunConfig) -> Funnel:
    total = Funnel()
    sums = _dataset(files, config).map_batches(_read_funnels, batch_format="pyarrow", batch_size=_FUNNELS_SUMMED)
    for row in sums.iter_rows():
        total.add(Funnel.from_json(row["funnel"]))
    return total


def _read_funnels(files: pa.Table) -> pa.Table:
    total = Funnel()
    for uri in files["links_uri"].to_pylist():
        with SteadyFile(*storage.resolve(uri)) as file:
            total.add(Funnel.from_json(pq.read_metadata(file).metadata[_FUNNEL].decode()))
    return pa.table({"funnel": [total.to_json()]})


def _merge_all(files: pa.Table, config: RunConfig, num_rows: int, links_uri: str, progress: Progress) -> int:
    """Publish the parts that are not there; the number of links in all of them."""
    num_digits = math.ceil(math.log(max(1, num_rows / _PART_ROWS), 16))
    parts = [f"{number:0{num_digits}x}" for number in range(16**num_digits)] if num_digits else [""]
    there = storage.list_names(links_uri)
    todo = [part for part in parts if _part_name(part) not in there]
    done = len(parts) - len(todo)
    progress("merge", done, len(parts))
    for start in range(0, len(todo), _WINDOW_PARTS):
        window = todo[start : start + _WINDOW_PARTS]
        links = _dataset(files, config).map_batches(
            _read_parts,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"parts": window},
            batch_format="pyarrow",
            batch_size=1,
        )
        merged = links.groupby("part", num_partitions=len(window)).map_groups(
            _write_part,  # type: ignore[arg-type] # Ray types no keyword arguments
            fn_kwargs={"links_uri": links_uri},
            batch_format="pyarrow",
        )
        for _ in merged.iter_rows():
            done += 1
            progress("merge", done, len(parts))
    progress("merge", len(parts), len(parts))  # those without links are not written
    written = storage.list_names(links_uri) & {_part_name(part) for part in parts}
    return sum(_num_rows(storage.join(links_uri, name)) for name in sorted(written))


def _read_parts(files: pa.Table, *, parts: list[str]) -> Iterator[pa.Table]:
    """The links of some parts, with their part; `parts` are prefixes of pair ids in order."""
    yield LINK.append(pa.field("part", pa.string())).empty_table()
    pair_id = pads.field("pair_id")
    for uri in files["links_uri"].to_pylist():
        filesystem, path = storage.resolve(uri)
        links = pads.dataset(path, filesystem=filesystem, format="parquet")
        in_range = (pair_id >= parts[0]) & (pair_id < parts[-1] + "g")  # behind all hex digits
        for batch in links.to_batches(filter=in_range):
            part = pc.utf8_slice_codeunits(batch["pair_id"], 0, len(parts[0]))
            wanted = pc.is_in(part, value_set=pa.array(parts))
            yield pa.Table.from_batches([batch]).append_column("part", part).filter(wanted)


def _write_part(links: pa.Table, *, links_uri: str) -> pa.Table:
    part = links["part"][0].as_py()
    table = with_caption(merge_links(links))
    storage.write_table(storage.join(links_uri, _part_name(part)), table)
    return pa.table({"links": [table.num_rows]})


def _part_name(part: str) -> str:
    return f"part-{part or 'all'}.parquet"


def _num_rows(uri: str) -> int:
    with SteadyFile(*storage.resolve(uri)) as file:
        return int(pq.read_metadata(file).num_rows)
