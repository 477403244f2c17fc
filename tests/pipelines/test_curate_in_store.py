"""Whole curations of a pool in an S3 server, as jobs that know its keys from their environment alone."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.metadata import import_metadata
from tests.faults import Fault, evenly, faulty
from tests.stores import BUCKET

pytestmark = pytest.mark.ray

STAGES = ("annotations", "counts", "duplicates", "thresholds")
FEW = 4


def recipe_of(root, pool):
    return {
        "root": root,
        "pool": {"name": "numbers", "uri": pool},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3, "max_dropped": {}},
        "compute": {"local_cpus": 3, "object_store_mb": 128},
    }


@pytest.fixture(scope="module")
def small_pool(sample, tmp_path_factory):
    """A folder with the first shards of the sample, one of them cut."""
    pool = tmp_path_factory.mktemp("pools") / "small"
    pool.mkdir()
    first, *others = sorted(sample.glob("*.tar"))[:FEW]
    for shard in others:
        shutil.copy(shard, pool)
    (pool / first.name).write_bytes(first.read_bytes()[:20_000])
    return pool


def curated_here(pool, sample, root):
    """The files that a curation makes, on this machine's disk."""
    config = build_config(recipe_of(str(root), str(pool)))
    import_metadata(str(sample / "metadata"), config)
    curate(config, progress=lambda *_: None)
    return artefacts(
        {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    )


@pytest.fixture(scope="module")
def expected_small(cluster, small_pool, sample, tmp_path_factory):
    return curated_here(small_pool, sample, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def expected_whole(cluster, sample, tmp_path_factory):
    return curated_here(sample, sample, tmp_path_factory.mktemp("whole"))


def artefacts(files):
    """Files by stage and name: a version also says when the store says that shards were written."""
    found = {}
    for name, content in files.items():
        stage, _, rest = name.partition("/")
        if stage in STAGES:
            found[stage, rest.partition("/")[2]] = content
    return found


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for place, content in expected.items():
        if place[1] == "expected.json":  # sums of floats
            assert json.loads(found[place]) == pytest.approx(json.loads(content), rel=1e-12)
        elif place[1] == "thresholds.json":  # the rest of it names versions
            assert [json.loads(found[place])[key] for key in "pt"] == [json.loads(content)[key] for key in "pt"]
        else:
            assert found[place] == content, place


def run_curate(recipe, environment, folder):
    """The job in a process of its own, with a cluster of its own; Ray's logs lie in `folder`."""
    file = folder / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "ray_jobs.curate", "--recipe", str(file), "--json"]
    environment = {**os.environ, **environment, "RAY_TMPDIR": str(folder)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)


@pytest.fixture
def folder():
    """A folder with a name that leaves room for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        yield Path(name)


def curated_there(store, name, pool, sample, folder, *, endpoint=None):
    """The job, done, and the files that it made in the store."""
    root = f"s3://{BUCKET}/{name}/root"
    recipe = recipe_of(root, store.upload(pool, f"{name}/pool"))
    import_metadata(str(sample / "metadata"), build_config(recipe))
    done = run_curate(recipe, store.environment(endpoint), folder)
    assert done.returncode == 0, done.stderr[-3_000:]
    return done, store.files(root)


def test_curate_in_a_store_makes_what_it_makes_on_a_disk_and_writes_no_key(
    expected_small, in_store, small_pool, sample, folder
):
    done, files = curated_there(in_store, "whole", small_pool, sample, folder)
    assert_equal(artefacts(files), expected_small)
    assert not [name for name in files if name.endswith(".partial")]
    logs = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert logs
    everything = [done.stdout.encode(), done.stderr.encode(), *files.values(), *logs]
    for key in (in_store.access_key, in_store.secret_key):
        assert not any(key.encode() in content for content in everything)


def test_curate_under_faults_makes_what_it_makes_without(expected_small, in_store, small_pool, sample, folder):
    weather = evenly(0.05)
    with faulty(in_store.endpoint, weather) as endpoint:
        _, files = curated_there(in_store, "faults", small_pool, sample, folder, endpoint=endpoint)
    assert sum(weather.came.values()) >= 3
    assert_equal(artefacts(files), expected_small)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_curate_of_the_whole_sample_under_faults_makes_what_it_makes_without(
    expected_whole, in_store, sample, folder, seed
):
    weather = evenly(0.05, seed=seed)
    with faulty(in_store.endpoint, weather) as endpoint:
        _, files = curated_there(in_store, f"seed-{seed}", sample, sample, folder, endpoint=endpoint)
    assert len(weather.came) == len(Fault)
    assert_equal(artefacts(files), expected_whole)


@pytest.mark.slow
def test_curate_of_a_store_that_is_down_fails_and_drops_nothing(in_store, small_pool, sample, folder):
    name = "down"
    root = f"s3://{BUCKET}/{name}/root"
    recipe = recipe_of(root, in_store.upload(small_pool, f"{name}/pool"))
    import_metadata(str(sample / "metadata"), build_config(recipe))
    done = run_curate(recipe, in_store.environment("http://127.0.0.1:9"), folder)
    assert done.returncode != 0
    assert artefacts(in_store.files(root)) == {}
