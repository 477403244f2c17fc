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
    scores_uris: tuple[str, ...]  # of the recipe's classifiers, in their order
    screens_uri: str | None  # None: the recipe leaves out nothing
    duplicates_uri: str
    counts_uri: str
    thresholds_uri: str
