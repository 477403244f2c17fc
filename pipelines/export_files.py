"""Files of exported pairs. The same pairs give the same bytes; a file holds images as they come, some at a time.

- webdataset: a tar of `{pair_id}.json` (pair_id, url, language and the drawn caption under `texts`), `{pair_id}.txt`
  (the caption, for readers that know one) and `{pair_id}.jpg|png|webp`.
- parquet: a row a pair; row groups are small, for readers fetch whole ones.
- ids: parquet without captions and images, for who has the pool.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from metaclip_core.images import suffix_of
from metaclip_core.records import EXPORTED

Pair = dict[str, Any]  # a row of EXPORTED

PAIRS = pa.schema([EXPORTED.field(name) for name in ("pair_id", "url", "caption", "language", "image")])
IDS = pa.schema([EXPORTED.field(name) for name in ("pair_id", "shard", "row", "epoch", "caption_index", "language")])
_GROUP_ROWS = 1_024
_GROUP_BYTES = 32 << 20  # of images


class ExportFormat(StrEnum):
    """What is written of each pair, and how."""

    WEBDATASET = "webdataset"
    PARQUET = "parquet"
    IDS = "ids"

    @property
    def suffix(self) -> str:
        """The end of a file's name."""
        return ".tar" if self is ExportFormat.WEBDATASET else ".parquet"

    @property
    def has_images(self) -> bool:
        """Whether pairs are written with their images."""
        return self is not ExportFormat.IDS


def write_pairs(filesystem: pafs.FileSystem, path: str, pairs: Iterable[Pair], *, export_format: ExportFormat) -> None:
    """Write the pairs as one file, in their order."""
    writers: dict[ExportFormat, Callable[[IO[bytes], Iterable[Pair]], None]] = {
        ExportFormat.WEBDATASET: _write_tar,
        ExportFormat.PARQUET: lambda stream, rows: _write_parquet(stream, rows, PAIRS),
        ExportFormat.IDS: lambda stream, rows: _write_parquet(stream, rows, IDS),
    }
    with filesystem.open_output_stream(path) as stream:
        writers[export_format](stream, pairs)


def _write_tar(stream: IO[bytes], pairs: Iterable[Pair]) -> None:
    seen: set[str] = set()
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
        for pair in pairs:
            key = pair["pair_id"]
            if key in seen:  # a pool that keeps its duplicates; members of one key would be one pair
                key = f"{key}-{pair['shard']}-{pair['row']}"
            seen.add(key)
            for suffix, data in (
                ("json", _metadata(pair)),
                ("txt", pair["caption"].encode()),
                (suffix_of(pair["image"]), pair["image"]),
            ):
                header = tarfile.TarInfo(f"{key}.{suffix}")  # without a time and an owner
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


def _metadata(pair: Pair) -> bytes:
    content = {
        "pair_id": pair["pair_id"],
        "url": pair["url"],
        "language": pair["language"],
        "texts": [{"type": pair["kind"], "text": pair["caption"]}],
    }
    return json.dumps(content, ensure_ascii=False).encode()


def _write_parquet(stream: IO[bytes], pairs: Iterable[Pair], schema: pa.Schema) -> None:
    with pq.ParquetWriter(
        stream, schema, compression="zstd", use_dictionary=["language"], write_page_checksum=True
    ) as writer:
        for group in _groups(pairs):
            writer.write_table(pa.Table.from_pylist(group, schema))


def _groups(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Neighbours, bounded by their number and by the bytes of their images."""
    group: list[Pair] = []
    held = 0
    for pair in pairs:
        size = len(pair["image"] or b"")
        if group and (len(group) == _GROUP_ROWS or held + size > _GROUP_BYTES):
            yield group
            group, held = [], 0
        group.append(pair)
        held += size
    if group:
        yield group
