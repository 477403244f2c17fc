"""Where the artefacts of one curation lie: what its later steps and the training need of it."""

from __future__ import annotations

from collections.abc import Mapping
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
    contamination_uri: str | None  # None: the recipe names no benchmark
    screens_uri: str | None  # None: the recipe leaves out nothing
    hashes_uri: str | None  # None: the recipe looks at no image
    duplicates_uri: str
    near_uri: str | None  # None: the recipe keeps near-duplicates
    counts_uri: str
    thresholds_uri: str

    @property
    def version(self) -> str:
        """What names the whole curation: the version of its thresholds, which all others enter."""
        return self.thresholds_uri.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class DataSet:
    """A curated pool as records know it."""

    name: str
    digest: str  # the curation's version
    uri: str  # of its thresholds, which say what they were made from
    profile: Mapping[str, float]  # numbers that people look for
