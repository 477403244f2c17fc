"""Where the artefacts of one curation lie: what its later steps and the training need of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Curated:
    """Where the artefacts of one curation lie, and the pool that they were made from."""

    pool: str
    num_shards: int
    manifest_digest: str
    metadata_uri: str
    annotations_uri: str
    hashes_uri: str | None  # None: the recipe looks at no image
    duplicates_uri: str
    near_uri: str | None  # None: the recipe keeps near-duplicates
    counts_uri: str
    thresholds_uri: str
