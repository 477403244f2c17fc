"""Pictures of a few pairs of a pool, read by their places: small, or the reason why there is none."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from metaclip_core.records import DropReason
from metaclip_core.thumbnails import thumbnail
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.manifest import Manifest
from pipelines.sources.base import Source, open_source

_SIZE = 160
_SHARDS_AT_ONCE = 8


class Placed(Protocol):
    """A pair of a pool, and where its image lies."""

    @property
    def pair_id(self) -> str:
        """Its id."""

    @property
    def shard(self) -> int:
        """Its shard's number."""

    @property
    def image_offset(self) -> int:
        """Where its image begins in the shard."""

    @property
    def image_length(self) -> int:
        """Bytes of its image."""


@dataclass(frozen=True)
class Picture:
    """A `data:` URI, or the reason why there is no picture; the other is None."""

    uri: str | None
    reason: str | None


def read_pictures(config: RunConfig, manifest: Manifest, pairs: Sequence[Placed]) -> dict[str, Picture]:
    """The picture of each pair, by pair id. What the pool does not give any more is a reason too."""
    source = open_source(config)
    names = manifest.table["name"].to_pylist()
    by_shard: dict[int, list[Placed]] = {}
    for pair in sorted(pairs, key=lambda pair: (pair.shard, pair.image_offset)):
        by_shard.setdefault(pair.shard, []).append(pair)
    read = partial(_read_shard, source, max_pixels=config.feed.max_pixels)
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as threads:
        found = threads.map(read, [names[shard] for shard in by_shard], by_shard.values())
        return {pair_id: picture for of_shard in found for pair_id, picture in of_shard.items()}


def _read_shard(source: Source, name: str, pairs: list[Placed], *, max_pixels: int) -> dict[str, Picture]:
    offsets, lengths = [pair.image_offset for pair in pairs], [pair.image_length for pair in pairs]
    try:
        images = list(source.read_images(name, offsets, lengths))
    except OSError as error:
        return {pair.pair_id: Picture(None, storage.first_line(error)) for pair in pairs}
    return {pair.pair_id: _picture(image, max_pixels=max_pixels) for pair, image in zip(pairs, images, strict=True)}


def _picture(image: bytes | DropReason, *, max_pixels: int) -> Picture:
    small = image if isinstance(image, DropReason) else thumbnail(image, size=_SIZE, max_pixels=max_pixels)
    if isinstance(small, DropReason):
        return Picture(None, small)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(small).decode()}", None)
