"""Pools of WebDataset tar shards: `{key}.jpg|png|webp` beside `{key}.json` with `url` and texts, or `{key}.txt`.

Texts stand under `texts`, or under `captions` as a link table has them and img2dataset passes them through: a list, or
a string that is the JSON of one, of objects or of `[kind, text]` pairs.

A shard may be gzip'd. Its captions are streamed like any other's, but no place in it can be sought, so its kept images
cost a read up to the last of them: pools that are trained on more than once are better kept as plain tars.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import PAIR, DropReason, Stage
from metaclip_core.sifting import sift_caption
from pipelines import storage
from pipelines.config import PoolConfig
from pipelines.errors import UserError
from pipelines.sources.counting import CountingStream
from pipelines.sources.gunzip import GunzipStream
from pipelines.sources.ranges import read_ranges, stream_ranges
from pipelines.sources.tar import Fault, Member, read_members

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
JSON_SUFFIX = "json"
TEXT_SUFFIX = "txt"
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXTS = ("texts", "captions")  # keys of the JSON; the first that is there
_KIND = ("type", "kind")  # keys of a text
_STREAM_BUFFER = 1 << 20


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)

    def first(self, suffixes: frozenset[str]) -> Member | None:
        return next((member for suffix, member in self.members.items() if suffix in suffixes), None)


class WebDatasetSource:
    """Shards are the `*.tar`, `*.tar.gz` and `*.tgz` files below the pool's folder, at any depth."""

    def __init__(self, pool: PoolConfig, *, uri: str) -> None:
        self._pool = pool
        self._uri = uri
        self._filesystem, self._path = storage.resolve(uri)

    def list_shards(self) -> pa.Table:
        """Name (relative to the pool), size and identity of each shard, by name.

        Raises:
            UserError: no such folder, a store that does not answer, or no shards.
        """
        selector = pafs.FileSelector(self._path, recursive=True)
        try:
            infos = self._filesystem.get_file_info(selector)
        except FileNotFoundError as error:
            raise UserError(f"no such pool: {self._uri}") from error
        except OSError as error:
            raise UserError(f"the pool {self._uri} cannot be listed: {storage.first_line(error)}") from error
        tars = sorted((i for i in infos if i.is_file and i.path.endswith(SHARD_SUFFIXES)), key=lambda info: info.path)
        if not tars:
            raise UserError(f"the pool {self._uri} is empty: it holds no .tar file")
        return pa.table(
            {
                "name": [info.path[len(self._path) :].lstrip("/") for info in tars],
                "size": pa.array([info.size for info in tars], pa.int64()),
                "identity": [f"{info.size}-{info.mtime_ns}" for info in tars],
            }
        )

    def read_captions(self, name: str, *, shard: int, batch_rows: int, funnel: Funnel) -> Iterator[pa.Table]:
        """The pairs of a shard as tables of PAIR; what is dropped is counted in `funnel`. Reads each byte once."""
        path = f"{self._path}/{name}"
        rows: list[dict[str, Any]] = []
        funnel.enter(Stage.SHARDS)
        with self._open(path) as stream:
            for row, sample in enumerate(self._samples(stream, path, funnel)):
                funnel.enter(Stage.READ)
                pair = self._pair(sample, f"{name}/{sample.key}", funnel)
                if isinstance(pair, DropReason):
                    funnel.drop(Stage.READ, pair)
                    continue
                rows.append({**pair, "shard": shard, "row": row})
                if len(rows) == batch_rows:
                    yield pa.Table.from_pylist(rows, PAIR)
                    rows = []
        if rows:
            yield pa.Table.from_pylist(rows, PAIR)

    def read_images(self, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
        """The bytes of some images of a shard, in the order asked for."""
        path = f"{self._path}/{name}"
        if _is_gzipped(name):
            with self._open(path) as stream:
                return stream_ranges(GunzipStream(stream), path, offsets, lengths)
        return read_ranges(self._filesystem, path, offsets, lengths)

    def _open(self, path: str) -> Any:  # noqa: ANN401 - pyarrow's streams are untyped
        return self._filesystem.open_input_stream(path, compression=None, buffer_size=_STREAM_BUFFER)

    def _samples(self, stream: Any, path: str, funnel: Funnel) -> Iterator[_Sample]:  # noqa: ANN401 - pyarrow's
        counting = CountingStream(stream)
        content = GunzipStream(counting) if _is_gzipped(path) else counting
        sample: _Sample | None = None
        num_members, num_faults = 0, 0
        truncated = False
        for member in read_members(content, wanted=self._wanted):
            if isinstance(member, Fault):
                num_faults += 1
                truncated |= member is Fault.TRUNCATED
                if member is Fault.BAD_HEADER:
                    funnel.enter(Stage.READ)
                    funnel.drop(Stage.READ, DropReason.BAD_MEMBER)
                continue
            num_members += 1
            stem, _, suffix = member.name.rpartition(".")
            if sample is None or stem != sample.key:
                if sample is not None:
                    yield sample
                sample = _Sample(stem)
            sample.members.setdefault(suffix.lower(), member)
        if sample is not None:
            yield sample
        if truncated and not (isinstance(content, GunzipStream) and content.is_broken):
            counting.check_all_read(self._filesystem, path)  # else the store is at fault
        if num_faults and not num_members:
            funnel.drop(Stage.SHARDS, DropReason.SHARD_UNREADABLE)
        elif truncated:
            funnel.drop(Stage.SHARDS, DropReason.SHARD_TRUNCATED)

    def _wanted(self, name: str, length: int) -> bool:
        suffix = name.rpartition(".")[2].lower()
        return suffix in (JSON_SUFFIX, TEXT_SUFFIX) and length <= self._pool.max_metadata_bytes

    def _pair(self, sample: _Sample, fallback: str, funnel: Funnel) -> dict[str, Any] | DropReason:
        image = sample.first(IMAGE_SUFFIXES)
        if image is None:
            return DropReason.NO_IMAGE
        if image.length > self._pool.max_image_bytes:
            return DropReason.IMAGE_BYTES_OVER_LIMIT
        content = _parse_metadata(sample)
        if isinstance(content, DropReason):
            return content
        url, texts = content
        captions = [caption for text in texts if (caption := self._caption(text, funnel)) is not None]
        if not captions:
            return DropReason.NO_CAPTION
        return {
            "pair_id": pair_id(url, fallback),
            "captions": captions,
            "image_offset": image.offset,
            "image_length": image.length,
        }

    def _caption(self, text: Any, funnel: Funnel) -> dict[str, str] | None:  # noqa: ANN401 - any JSON
        kind = None
        if isinstance(text, dict):
            kind, text = next((text[key] for key in _KIND if key in text), None), text.get("text")
        elif isinstance(text, list) and len(text) == len(("kind", "text")):
            kind, text = text
        return sift_caption(kind, text, max_chars=self._pool.max_caption_chars, funnel=funnel)


def _is_gzipped(name: str) -> bool:
    return name.endswith((".tar.gz", ".tgz"))


def _parse_metadata(sample: _Sample) -> tuple[str | None, list[Any]] | DropReason:
    """URL and raw texts of a sample."""
    member, plain = sample.members.get(JSON_SUFFIX), sample.members.get(TEXT_SUFFIX)
    if any(m is not None and m.data is None for m in (member, plain)):
        return DropReason.METADATA_BYTES_OVER_LIMIT
    content: Any = {}
    try:
        if member is not None and member.data is not None:
            content = json.loads(member.data.decode("utf-8", "replace"))
        if not isinstance(content, dict):
            return DropReason.BAD_METADATA
        texts: Any = next((content[key] for key in _TEXTS if key in content), [])
        if isinstance(texts, str):
            texts = json.loads(texts)
    except (ValueError, RecursionError):
        return DropReason.BAD_METADATA
    url = content.get("url")
    if not isinstance(texts, list) or not isinstance(url, str | None):
        return DropReason.BAD_METADATA
    if not texts and plain is not None and plain.data is not None:
        texts = [{"type": "alt", "text": plain.data.decode("utf-8", "replace")}]
    return url, texts
