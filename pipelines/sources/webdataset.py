"""Pools of WebDataset tar shards: `{key}.jpg|png|webp` beside `{key}.json` with `url` and texts, or `{key}.txt`.

Texts stand under `texts`, or under `captions` as a link table has them and img2dataset passes them through: a list, or
a string that is the JSON of one, of objects or of `[kind, text]` pairs. A `pair_id` of 24 hex digits, as an exported
pool has it, names the pair in place of its URL.

A shard may be gzip'd. Its captions are streamed like any other's, but no place in it can be sought, so its kept images
cost a read up to the last of them: pools that are trained on more than once are better kept as plain tars.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Any

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id, shown_url, stated_id
from metaclip_core.records import DropReason, Stage
from metaclip_core.sifting import sift_caption
from pipelines import storage
from pipelines.config.pool import PoolConfig
from pipelines.sources.gunzip import GunzipStream
from pipelines.sources.listing import list_files
from pipelines.sources.pairs import Pairs, chosen, in_batches
from pipelines.sources.ranges import read_ranges, stream_ranges
from pipelines.sources.tar import Fault, Member, read_members
from pipelines.steady import SteadyFile

IMAGE_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
JSON_SUFFIX = "json"
TEXT_SUFFIX = "txt"
SHARD_SUFFIXES = (".tar", ".tar.gz", ".tgz")
_PAIR_ID = "pair_id"
_TEXTS = ("texts", "captions")  # keys of the JSON; the first that is there
_KIND = ("type", "kind")  # keys of a text
_STREAM_BUFFER = 3 << 19  # bytes of a request, held twice; a store answers after some 30 ms
_GROUP_BYTES = 4 << 20  # of images


@dataclass
class _Sample:
    """The members of one key."""

    key: str
    members: dict[str, Member] = field(default_factory=dict)

    def first(self, suffixes: frozenset[str]) -> Member | None:
        return next((member for suffix, member in self.members.items() if suffix in suffixes), None)


@dataclass(frozen=True)
class _Metadata:
    pair_id: str | None
    url: str | None
    texts: list[Any]


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
        return list_files(self._uri, suffixes=SHARD_SUFFIXES)

    def read_captions(self, name: str, *, shard: int, batch_rows: int, funnel: Funnel) -> Iterator[pa.Table]:
        """The pairs of a shard as tables of PAIR; what is dropped is counted in `funnel`. Reads each byte once."""
        read = self._read(name, shard=shard, wanted=self._is_metadata, funnel=funnel)
        for table, _ in in_batches(read, max_rows=batch_rows, max_bytes=0):
            yield table

    def read_pairs(
        self, name: str, *, shard: int, batch_rows: int, batch_bytes: int, funnel: Funnel
    ) -> Iterator[Pairs]:
        """`read_captions` with the images. Reads each byte once, and holds the images of a batch."""
        read = self._read(name, shard=shard, wanted=self._is_needed, funnel=funnel)
        for table, images in in_batches(read, max_rows=batch_rows, max_bytes=batch_bytes):
            yield Pairs(table, partial(chosen, images))

    def read_images(self, name: str, offsets: Sequence[int], lengths: Sequence[int]) -> Iterator[bytes]:
        """The bytes of some images of a shard, in the order asked for; lazy, a bounded group at once."""
        path = f"{self._path}/{name}"
        if _is_gzipped(name):
            with self._open(path) as stream:
                yield from stream_ranges(GunzipStream(stream), path, offsets, lengths)
            return
        for group in _groups(lengths):
            places = offsets[group.start : group.stop], lengths[group.start : group.stop]
            yield from read_ranges(self._filesystem, path, *places)

    def _read(
        self, name: str, *, shard: int, wanted: Callable[[str, int], bool], funnel: Funnel
    ) -> Iterator[tuple[dict[str, Any], bytes | None]]:
        """Values of PAIR, and the image's bytes where `wanted` takes images."""
        path = f"{self._path}/{name}"
        funnel.enter(Stage.SHARDS)
        with self._open(path) as stream:
            for row, sample in enumerate(self._samples(stream, path, wanted, funnel)):
                funnel.enter(Stage.READ)
                pair = self._pair(sample, f"{name}/{sample.key}", funnel)
                if isinstance(pair, DropReason):
                    funnel.drop(Stage.READ, pair)
                    continue
                image = sample.first(IMAGE_SUFFIXES)
                yield {**pair, "shard": shard, "row": row}, image.data if image else None

    def _open(self, path: str) -> io.BufferedReader:
        return io.BufferedReader(SteadyFile(self._filesystem, path), _STREAM_BUFFER)

    def _samples(
        self, stream: IO[bytes], path: str, wanted: Callable[[str, int], bool], funnel: Funnel
    ) -> Iterator[_Sample]:
        content = GunzipStream(stream) if _is_gzipped(path) else stream
        sample: _Sample | None = None
        num_members, num_faults = 0, 0
        truncated = False
        for member in read_members(content, wanted=wanted):
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

    def _is_metadata(self, name: str, length: int) -> bool:
        return _suffix(name) in (JSON_SUFFIX, TEXT_SUFFIX) and length <= self._pool.max_metadata_bytes

    def _is_needed(self, name: str, length: int) -> bool:
        is_image = _suffix(name) in IMAGE_SUFFIXES and length <= self._pool.max_image_bytes
        return is_image or self._is_metadata(name, length)

    def _pair(self, sample: _Sample, fallback: str, funnel: Funnel) -> dict[str, Any] | DropReason:
        image = sample.first(IMAGE_SUFFIXES)
        if image is None:
            return DropReason.NO_IMAGE
        if image.length > self._pool.max_image_bytes:
            return DropReason.IMAGE_BYTES_OVER_LIMIT
        content = _parse_metadata(sample)
        if isinstance(content, DropReason):
            return content
        captions = [caption for text in content.texts if (caption := self._caption(text, funnel)) is not None]
        if not captions:
            return DropReason.NO_CAPTION
        return {
            "pair_id": content.pair_id or pair_id(content.url, fallback),
            "url": shown_url(content.url),
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


def _suffix(name: str) -> str:
    return name.rpartition(".")[2].lower()


def _is_gzipped(name: str) -> bool:
    return name.endswith((".tar.gz", ".tgz"))


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


def _parse_metadata(sample: _Sample) -> _Metadata | DropReason:
    """What a sample says of its image; texts are raw."""
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
    return _Metadata(stated_id(content.get(_PAIR_ID)), url, texts)
