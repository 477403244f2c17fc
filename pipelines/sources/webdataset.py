"""Pools of WebDataset tar shards: `{key}.jpg|png|webp` beside `{key}.json` with `url` and `texts`, or `{key}.txt`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import PAIR, DropReason, Stage
from pipelines import storage
from pipelines.config import PoolConfig
from pipelines.sources.listing import list_files
from pipelines.sources.ranges import read_ranges
from pipelines.sources.tar import Fault, Member, read_members
from pipelines.sources.texts import usable_caption
from pipelines.steady import SteadyFile

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
JSON_SUFFIX = "json"
TEXT_SUFFIX = "txt"
_STREAM_BUFFER = 4 << 20  # bytes of a request, which a store answers after some 30 ms
_GROUP_BYTES = 4 << 20  # of images


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)

    def first(self, suffixes: frozenset[str]) -> Member | None:
        return next((member for suffix, member in self.members.items() if suffix in suffixes), None)


class WebDatasetSource:
    """Shards are the `*.tar` files below the pool's folder, at any depth."""

    def __init__(self, pool: PoolConfig, *, uri: str) -> None:
        self._pool = pool
        self._uri = uri
        self._filesystem, self._path = storage.resolve(uri)

    def list_shards(self) -> pa.Table:
        """Name (relative to the pool), size and identity of each shard, by name.

        Raises:
            UserError: no such folder, a store that does not answer, or no shards.
        """
        return list_files(self._uri, suffix=".tar")

    def read_captions(self, name: str, *, shard: int, batch_rows: int, funnel: Funnel) -> Iterator[pa.Table]:
        """The pairs of a shard as tables of PAIR; what is dropped is counted in `funnel`. Reads each byte once."""
        path = f"{self._path}/{name}"
        rows: list[dict[str, Any]] = []
        funnel.enter(Stage.SHARDS)
        with io.BufferedReader(SteadyFile(self._filesystem, path), _STREAM_BUFFER) as stream:
            for row, sample in enumerate(self._samples(stream, funnel)):
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

    def read_images(self, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[bytes]:
        """The bytes of some images of a shard, in the order asked for; lazy, a bounded group at once."""
        for group in _groups(lengths):
            places = offsets[group.start : group.stop], lengths[group.start : group.stop]
            yield from read_ranges(self._filesystem, f"{self._path}/{name}", *places)

    def _samples(self, stream: IO[bytes], funnel: Funnel) -> Iterator[_Sample]:
        sample: _Sample | None = None
        num_members, num_faults = 0, 0
        truncated = False
        for member in read_members(stream, wanted=self._wanted):
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
        kind, content = (text.get("type"), text.get("text")) if isinstance(text, dict) else (None, None)
        return usable_caption(kind, content, max_chars=self._pool.max_caption_chars, funnel=funnel)


def _groups(lengths: Sequence[int]) -> Iterator[range]:
    """Neighbours that are held at once: as many as stay below a number of bytes."""
    start, held = 0, 0
    for index, length in enumerate(lengths):
        if index > start and held + length > _GROUP_BYTES:
            yield range(start, index)
            start, held = index, 0
        held += length
    if lengths:
        yield range(start, len(lengths))


def _parse_metadata(sample: _Sample) -> tuple[str | None, list[Any]] | DropReason:
    """URL and raw texts of a sample."""
    member, plain = sample.members.get(JSON_SUFFIX), sample.members.get(TEXT_SUFFIX)
    if any(m is not None and m.data is None for m in (member, plain)):
        return DropReason.METADATA_BYTES_OVER_LIMIT
    content: Any = {}
    if member is not None and member.data is not None:
        try:
            content = json.loads(member.data.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return DropReason.BAD_METADATA
    if not isinstance(content, dict):
        return DropReason.BAD_METADATA
    texts, url = content.get("texts", []), content.get("url")
    if not isinstance(texts, list) or not isinstance(url, str | None):
        return DropReason.BAD_METADATA
    if not texts and plain is not None and plain.data is not None:
        texts = [{"type": "alt", "text": plain.data.decode("utf-8", "replace")}]
    return url, texts
