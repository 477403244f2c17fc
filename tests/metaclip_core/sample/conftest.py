"""One small sample, written once for all tests of this folder that only read it."""

from pathlib import Path

import pyarrow.fs as pafs
import pytest

from metaclip_core.sample.pool import write_sample

NUM_IMAGES, SHARD_ROWS, SEED = 400, 100, 3


@pytest.fixture(scope="package")
def sample_path(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "numbers"
    write_sample(pafs.LocalFileSystem(), str(path), num_images=NUM_IMAGES, shard_rows=SHARD_ROWS, seed=SEED)
    return path
