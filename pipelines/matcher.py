"""The recipe's matcher: metadata from storage, automata within this process's share of memory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from metaclip_core.matching import EntryMatcher
from metaclip_core.text import Normaliser
from metaclip_core.vocabularies import VocabularyFolder
from pipelines import storage
from pipelines.config import RunConfig


def open_matcher(config: RunConfig, metadata_uri: str, *, revision: int) -> EntryMatcher:
    """The matcher of a metadata version.

    What it builds lies in a folder of this user's on this machine, one for each version and revision, and is shared by
    the machine's processes. The folder may be removed at any time.
    """
    compute = config.compute
    version = metadata_uri.rstrip("/").rpartition("/")[2]
    folder = Path(tempfile.gettempdir()) / f"metaclip-vocabularies-{os.getuid()}-{version}-{revision}"
    return EntryMatcher.from_metadata(
        *storage.resolve(metadata_uri),
        normaliser=Normaliser(config.curation.normaliser),
        engine=compute.matcher_engine,
        budget_bytes=compute.matcher_budget_mb and compute.matcher_budget_mb << 20,
        folder=VocabularyFolder(folder),
    )
