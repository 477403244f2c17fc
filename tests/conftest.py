"""What tests of several packages share: a small sample, a small configuration, one Ray cluster, one S3 server."""

import os

import pyarrow.fs as pafs
import pytest
from hypothesis import settings

from metaclip_core.sample.pool import write_sample
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.config.compute import ComputeConfig
from tests import classifier_package
from tests.stores import running_store

settings.register_profile("busy", deadline=None)  # a busy machine is no failure
settings.load_profile("busy")

SAMPLE_IMAGES = 480
SHARD_ROWS = 40


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """The folder of a small sample pool: 12 shards."""
    folder = tmp_path_factory.mktemp("sample") / "numbers"
    write_sample(pafs.LocalFileSystem(), str(folder), num_images=SAMPLE_IMAGES, shard_rows=SHARD_ROWS, seed=0)
    return folder


@pytest.fixture(scope="session")
def classifiers(tmp_path_factory):
    """A package of classifiers, installed for this process and those that it starts."""
    folder = tmp_path_factory.mktemp("site-packages")
    classifier_package.install(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield folder


@pytest.fixture(scope="session")
def cluster(classifiers):
    """A Ray cluster on this machine, for as long as the tests run."""
    with connected(ComputeConfig(local_cpus=6, object_store_mb=256)):
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    """An S3 server on this machine, for as long as the tests run."""
    with running_store(tmp_path_factory.mktemp("store") / "s3") as running:
        yield running


@pytest.fixture
def in_store(store, monkeypatch):
    """The store, with its endpoint and keys in the environment."""
    for name, value in store.environment().items():
        monkeypatch.setenv(name, value)
    return store


@pytest.fixture
def make_config(sample, tmp_path):
    """Configurations over the sample, each with a root of its own unless told otherwise."""

    def make(*overrides, root=None):
        recipe = {
            "recipe": "test",
            "root": str(root or tmp_path / "root"),
            "pool": {"name": "numbers", "uri": str(sample)},
            "metadata": {"name": "numbers"},
            "curation": {"p": 0.3},
            "feed": {"window_positions": 8, "interleaved_shards": 4, "chunk_rows": 4, "shuffle_rows": 32},
            "model": {"preset": "tiny", "vocab_size": 600},
            "training": {
                "steps": 12,
                "global_batch_size": 16,
                "warmup_steps": 2,
                "checkpoint_every_steps": 4,
                "log_every_steps": 2,
            },
            "tracking": {"state": str(tmp_path / "mlflow")},
            "compute": {"timeout_s": 120},
        }
        return build_config(recipe, overrides=overrides)

    return make
