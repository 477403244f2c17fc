"""What near-duplicates leave in store: for each shard the rows that go, and the captions that its keepers get."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import pyarrow as pa

from pipelines import storage

_CAPTIONS = "captions"
_MARKER = "manifest.json"


@dataclass(frozen=True)
class NearSummary:
    """What was found in a pool; `manifest.json`."""

    near_duplicates: int
    images: int  # pairs that were looked at
    unreadable: dict[str, int] = field(default_factory=dict)  # of them, by reason: they take part in nothing, and stay
    unjudged: int = 0  # comparisons left out, see `near_groups.Edges`


def is_published(near_uri: str) -> bool:
    """Whether all files are there."""
    return storage.exists(storage.join(near_uri, _MARKER))


def publish(near_uri: str, summary: NearSummary) -> None:
    """Say that all files are there."""
    storage.write_json(storage.join(near_uri, _MARKER), asdict(summary))


def read_summary(near_uri: str) -> NearSummary:
    """What was found. Raises FileNotFoundError."""
    return NearSummary(**storage.read_json(storage.join(near_uri, _MARKER)))


def write_gone(near_uri: str, shard: int, gone: pa.Table) -> None:
    """GONE of a shard."""
    storage.write_table(storage.shard_file(near_uri, shard), gone)


def write_captions(near_uri: str, shard: int, extra: pa.Table) -> None:
    """EXTRA_CAPTIONS of a shard."""
    storage.write_table(storage.shard_file(storage.join(near_uri, _CAPTIONS), shard), extra)


def read_gone(near_uri: str, shard: int) -> pa.Array:
    """The rows of a shard that go: int32, ascending."""
    gone = _read(near_uri, shard)
    return pa.array([], pa.int32()) if gone is None else gone["row"].combine_chunks()


def read_extra_captions(near_uri: str, shard: int) -> pa.Table | None:
    """EXTRA_CAPTIONS of a shard; None where no pair gets any."""
    return _read(storage.join(near_uri, _CAPTIONS), shard)


def _read(folder: str, shard: int) -> pa.Table | None:
    try:
        return storage.read_table(storage.shard_file(folder, shard))
    except FileNotFoundError:
        return None
