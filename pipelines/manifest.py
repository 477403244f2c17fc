"""The pool's manifest: an append-only list of shards, so that a shard's number never changes.

Counts and runs pin the manifest that they were made from: how many shards it had, and their digest.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import ray

from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.sources.base import open_source

_DIGESTED_ROWS = 10_000  # at once, for a manifest of a large pool is in every reader
MANIFEST = pa.schema([("shard", pa.int32()), ("name", pa.string()), ("size", pa.int64()), ("identity", pa.string())])


@dataclass(frozen=True)
class Manifest:
    """The shards of a pool, by number."""

    table: pa.Table

    @property
    def num_shards(self) -> int:
        """Shards in the pool."""
        return int(self.table.num_rows)

    @property
    def digest(self) -> str:
        """A hash of all names and identities in order."""
        content = hashlib.sha256()
        for part in self.table.to_batches(max_chunksize=_DIGESTED_ROWS):
            lines = pc.binary_join_element_wise(part["name"], part["identity"], "\0")
            content.update("".join(f"{line}\n" for line in lines.to_pylist()).encode())
        return content.hexdigest()[:16]

    def pinned(self, num_shards: int, digest: str) -> Manifest:
        """The first `num_shards` shards.

        Raises:
            UserError: they are not those that `digest` was made from.
        """
        pinned = Manifest(self.table.slice(0, num_shards))
        if pinned.digest != digest:
            raise UserError("the pool's manifest is not the one that this curation was made from; curate again")
        return pinned

    def dataset(self, *, max_blocks: int) -> ray.data.Dataset:
        """One row for each shard, in at most `max_blocks` read tasks."""
        blocks = min(self.num_shards, max_blocks)
        return ray.data.from_items(self.table.to_pylist(), override_num_blocks=blocks)


def load_manifest(config: RunConfig) -> Manifest:
    """The manifest as it was last updated.

    Raises:
        UserError: the pool was never curated.
    """
    uri = storage.Layout(config.root).manifest(config.pool.name)
    try:
        return Manifest(storage.read_table(uri))
    except FileNotFoundError as error:
        raise UserError(
            f"pool {config.pool.name!r} has no manifest under {config.root}: run `metaclip curate` first"
        ) from error


def update_manifest(config: RunConfig) -> Manifest:
    """Append the shards that the pool has gained since.

    Raises:
        UserError: the pool can't be listed, or a known shard is gone or was written over.
    """
    uri = storage.Layout(config.root).manifest(config.pool.name)
    listed = open_source(config).list_shards()
    known = Manifest(storage.read_table(uri) if storage.exists(uri) else MANIFEST.empty_table())
    found = {row["name"]: row for row in listed.to_pylist()}
    for row in known.table.to_pylist():
        current = found.pop(row["name"], None)
        if current is None or current["identity"] != row["identity"]:
            what = "is gone" if current is None else "was written over"
            raise UserError(
                f"shard {row['name']} of pool {config.pool.name!r} {what} since it was curated: "
                "a pool only grows; give the changed one another pool.name"
            )
    if not found:
        return known
    first = known.num_shards
    new = [{"shard": first + i, **found[name]} for i, name in enumerate(sorted(found))]
    manifest = Manifest(pa.concat_tables([known.table, pa.Table.from_pylist(new, MANIFEST)]))
    storage.write_table(uri, manifest.table)
    return manifest
