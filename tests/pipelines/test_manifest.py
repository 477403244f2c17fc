import os
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import storage
from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.manifest import MANIFEST, Manifest, load_manifest, update_manifest


@pytest.fixture
def pool(tmp_path):
    folder = tmp_path / "root" / "pool"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def config(pool):
    return build_config({"root": str(pool.parent)})


def names(manifest):
    return manifest.table["name"].to_pylist()


def put(pool, *shards):
    for name in shards:
        (pool / name).parent.mkdir(parents=True, exist_ok=True)
        (pool / name).write_bytes(name.encode())


def test_manifest_of_a_new_pool_numbers_its_shards_by_name(pool, config):
    put(pool, "b.tar", "a.tar", "deep/c.tar", "notes.txt", "a.tar.bz2")
    manifest = update_manifest(config)
    assert names(manifest) == ["a.tar", "b.tar", "deep/c.tar"]
    assert manifest.table["shard"].to_pylist() == [0, 1, 2]
    assert manifest.table["size"].to_pylist() == [5, 5, 10]
    assert manifest.table.schema.equals(MANIFEST)
    assert load_manifest(config).table.equals(manifest.table)


def test_shards_that_come_later_are_appended_whatever_their_names(pool, config):
    put(pool, "m.tar")
    first = update_manifest(config)
    put(pool, "z.tar", "a.tar")
    grown = update_manifest(config)
    assert names(grown) == ["m.tar", "a.tar", "z.tar"]
    assert grown.table["shard"].to_pylist() == [0, 1, 2]
    assert grown.table.slice(0, 1).equals(first.table)


def test_manifest_of_an_unchanged_pool_is_not_written_again(pool, config):
    put(pool, "a.tar")
    first = update_manifest(config)
    path = Path(storage.Layout(config.root).manifest(config.pool.name))
    os.utime(path, ns=(1, 1))
    assert update_manifest(config).digest == first.digest
    assert path.stat().st_mtime_ns == 1


@pytest.mark.parametrize("gone", ["a.tar", "b.tar"])
def test_shard_that_is_gone_is_an_error_that_names_it(pool, config, gone):
    put(pool, "a.tar", "b.tar")
    before = update_manifest(config)
    (pool / gone).unlink()
    put(pool, "c.tar")
    with pytest.raises(UserError, match=f"shard {gone} .* is gone"):
        update_manifest(config)
    assert load_manifest(config).table.equals(before.table)


@pytest.mark.parametrize("content", [b"other", b"longer than before"])
def test_shard_that_was_written_over_is_an_error_that_names_it(pool, config, content):
    put(pool, "a.tar", "b.tar")
    update_manifest(config)
    (pool / "b.tar").write_bytes(content)
    later = (pool / "a.tar").stat().st_mtime_ns + 10**9
    os.utime(pool / "b.tar", ns=(later, later))
    with pytest.raises(UserError, match=r"shard b\.tar .* was written over"):
        update_manifest(config)


def test_manifest_of_a_pool_that_was_never_curated_asks_to_curate_it(config):
    with pytest.raises(UserError, match="metaclip curate"):
        load_manifest(config)


def test_pinned_part_of_a_grown_manifest_is_what_it_was(pool, config):
    put(pool, "m.tar", "n.tar")
    first = update_manifest(config)
    put(pool, "a.tar")
    pinned = update_manifest(config).pinned(first.num_shards, first.digest)
    assert names(pinned) == ["m.tar", "n.tar"]
    assert pinned.digest == first.digest


def manifest_of(*rows):
    records = [{"shard": i, "name": name, "size": 1, "identity": identity} for i, (name, identity) in enumerate(rows)]
    return Manifest(pa.Table.from_pylist(records, MANIFEST))


@pytest.mark.parametrize(
    "other",
    [
        manifest_of(("a", "2"), ("b", "1")),
        manifest_of(("b", "1"), ("a", "1")),
        manifest_of(("a", "1"), ("c", "1")),
        manifest_of(("a", "1")),
        manifest_of(("a\0", "1"), ("b", "1")),
        manifest_of(),
    ],
)
def test_manifest_that_is_not_the_pinned_one_is_refused(other):
    pinned = manifest_of(("a", "1"), ("b", "1"))
    assert pinned.pinned(2, pinned.digest).table.equals(pinned.table)
    with pytest.raises(UserError, match="curate again"):
        other.pinned(2, pinned.digest)


def test_digest_of_a_known_manifest_never_changes():
    assert manifest_of(("a.tar", "10-1"), ("b.tar", "20-2")).digest == "2d8374a312db62c5"
