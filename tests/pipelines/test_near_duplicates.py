"""Near-duplicates of a small pool with planted ones, for each policy, and however the work is split."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.links import MAX_CAPTIONS
from metaclip_core.records import DropReason, Stage
from pipelines import near_duplicates
from pipelines.benchmark_hashes import make_hash_file
from pipelines.config import build_config
from pipelines.contamination import read_contamination
from pipelines.curate import curate
from pipelines.deduplicate import read_first
from pipelines.keepers import read_summary
from pipelines.metadata import import_metadata
from pipelines.selection import read_unique
from tests.pictures import bordered, copies, encoded, lossless, scaled, shapes, texture

pytestmark = pytest.mark.ray

NUM_SHARDS = 6
OWN = ["an old house by the river", "a red boat"]


def quiet(*_):
    """No progress."""


def pair(image, *texts, url):
    """(bytes, what its .json says)."""
    return image, {"url": url, "texts": [["alt", text] for text in texts]}


def planted():
    """Shards of pairs, and by (shard, row) what stays for each planted near-duplicate."""
    rng = np.random.default_rng(0)
    shards = [
        [pair(encoded(shapes(rng)), f"a house with number {shard}{row}", url=f"http://a.example/{shard}/{row}")
         for row in range(4)]
        for shard in range(NUM_SHARDS)
    ]  # fmt: skip
    keepers = {}

    def add(shard, image, *texts, keeper=None, url=None):
        row = len(shards[shard])
        shards[shard].append(pair(image, *texts, url=url or f"http://b.example/{shard}/{row}"))
        if keeper:
            keepers[shard, row] = keeper
        return shard, row

    picture = texture(rng)
    first = add(1, encoded(picture), *OWN)
    add(3, encoded(scaled(picture, 0.5), quality=60), "the river", "a red boat", keeper=first)  # one text is there
    add(2, encoded(bordered(picture, (255, 255, 255))), "a boat on the river", keeper=first)
    add(5, encoded(picture), "the same bytes", keeper=first)
    # the first of an id decides what is looked at, not the first of a picture
    other = shapes(rng)
    add(0, b"no image at all", "broken", url="http://c.example/x")
    add(2, encoded(other), "left out by its address", url="http://c.example/x")
    second = add(4, lossless(other), "a house")
    add(4, encoded(other, quality=70), "a house again", keeper=second)
    # a meme with more captions than a pair may have
    meme = shapes(rng)
    third = add(0, encoded(meme), "meme 0")
    for number, image in enumerate(copies(meme, rng).values()):
        add(number % NUM_SHARDS, image, *(f"meme {number} {text}" for text in range(9)), keeper=third)
    keepers = {place: keeper for place, keeper in keepers.items() if place > keeper}
    return shards, keepers


SHARDS, KEEPERS = planted()


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("near") / "pool"
    folder.mkdir()
    for number, pairs in enumerate(SHARDS):
        with tarfile.open(folder / f"{number:03}.tar", "w") as archive:
            for row, (image, told) in enumerate(pairs):
                for suffix, data in {"jpg": image, "json": json.dumps(told).encode()}.items():
                    header = tarfile.TarInfo(f"{row:05}.{suffix}")
                    header.size = len(data)
                    archive.addfile(header, io.BytesIO(data))
    lists = folder.parent / "lists"
    lists.mkdir()
    (lists / "en.txt").write_text("house\nriver\nboat\nmeme\n")
    return folder


def recipe(pool, root, **curation):
    return {
        "recipe": "near",
        "root": str(root),
        "pool": {"name": "near", "uri": str(pool)},
        "metadata": {"name": "near"},
        "curation": {"p": 0.3, "min_language_score": 0.0, "near_duplicates": "first", **curation},
        "compute": {"timeout_s": 120, "max_actors": 1},
    }


def curated(pool, root, *overrides, **curation):
    config = build_config(recipe(pool, root, **curation), overrides=overrides)
    import_metadata(str(pool.parent / "lists"), config)
    return curate(config, progress=quiet)


def rows_of(read, result, **options):
    """{(shard, row): texts}."""
    tables = [read(result.curated, shard, **options) for shard in range(NUM_SHARDS)]
    return {
        (pair["shard"], pair["row"]): [caption["text"] for caption in pair["captions"]]
        for table in tables
        for pair in table.to_pylist()
    }


def files_of(near_uri):
    return {str(path.relative_to(near_uri)): pq.read_table(path) for path in Path(near_uri).rglob("*.parquet")}


@pytest.fixture(scope="module")
def first(cluster, pool, tmp_path_factory):
    return curated(pool, tmp_path_factory.mktemp("first"))


@pytest.fixture(scope="module")
def merged(cluster, pool, tmp_path_factory):
    return curated(pool, tmp_path_factory.mktemp("merged"), near_duplicates="merge")


def test_first_leaves_out_the_planted_ones_and_nothing_else(first):
    before, after = rows_of(read_first, first, columns=["shard", "row", "captions"]), rows_of(read_unique, first)
    assert set(before) - set(after) == set(KEEPERS)
    assert all(after[place] == before[place] for place in after)


def test_each_near_duplicate_is_listed_with_its_keeper(first):
    listed = {
        (shard, row["row"]): (row["keeper_shard"], row["keeper_row"])
        for shard in range(NUM_SHARDS)
        for row in pq.read_table(Path(first.curated.near_uri) / f"{shard:08}.parquet").to_pylist()
    }
    assert listed == KEEPERS


def test_funnel_has_an_exact_line_and_counts_follow_what_is_left(first):
    funnel = {record["stage"]: record for record in first.funnel.to_records()}
    num_left = len(rows_of(read_unique, first))
    assert funnel[Stage.DEDUPLICATE]["dropped"] == {DropReason.DUPLICATE: 1}
    assert funnel[Stage.NEAR]["rows_in"] == funnel[Stage.DEDUPLICATE]["rows_out"]
    assert funnel[Stage.NEAR]["dropped"] == {DropReason.NEAR_DUPLICATE: len(KEEPERS)}
    assert funnel[Stage.MATCH]["rows_in"] == funnel[Stage.NEAR]["rows_out"] == num_left


def test_images_that_cannot_be_read_stay_and_are_counted(first):
    summary = read_summary(first.curated.near_uri)
    assert summary.unreadable == {DropReason.IMAGE_BROKEN: 1}
    assert (summary.near_duplicates, summary.images) == (
        len(KEEPERS),
        len(rows_of(read_first, first, columns=["shard", "row", "captions"])),
    )
    assert (0, 4) in rows_of(read_unique, first)


def test_keep_looks_at_no_image_and_leaves_nothing_out(pool, tmp_path, cluster):
    result = curated(pool, tmp_path, near_duplicates="keep")
    assert rows_of(read_unique, result) == rows_of(read_first, result, columns=["shard", "row", "captions"])
    assert not (tmp_path / "hashes").exists()
    assert not (tmp_path / "near").exists()
    assert Stage.NEAR not in [record["stage"] for record in result.funnel.to_records()]


def test_merge_gives_the_keeper_what_the_others_are_called(merged, first):
    after = rows_of(read_unique, merged)
    assert set(after) == set(rows_of(read_unique, first))
    place = next(keeper for keeper in KEEPERS.values() if keeper[0] == 1)
    assert after[place] == [*OWN, "a boat on the river", "the river", "the same bytes"]


def test_merge_stops_at_as_many_captions_as_a_pair_may_have(merged):
    assert max(map(len, rows_of(read_unique, merged).values())) == MAX_CAPTIONS


def test_merge_counts_the_captions_of_keepers(merged, first):
    matched = [sum(counts.sum() for counts in result.counts.matches.values()) for result in (merged, first)]
    assert matched[0] > matched[1]
    assert merged.curated.counts_uri != first.curated.counts_uri


def test_merge_reads_rows_without_captions_too(merged):
    table = read_unique(merged.curated, 0, columns=["row", "pair_id"])
    assert table.column_names == ["row", "pair_id"]
    assert table.num_rows == len([place for place in rows_of(read_unique, merged) if place[0] == 0])


def test_near_duplicates_are_the_same_from_one_block_and_from_parts(merged, pool, tmp_path, monkeypatch):
    monkeypatch.setattr(near_duplicates, "_SHARDS_PER_PART", 5)
    monkeypatch.setattr(near_duplicates, "_MAX_PARTITIONS", 4)
    parted = curated(pool, tmp_path, "compute.shard_blocks=8", "compute.max_actors=2", near_duplicates="merge")
    ours, theirs = files_of(parted.curated.near_uri), files_of(merged.curated.near_uri)
    assert ours == theirs
    assert any("captions" in name for name in ours)
    assert read_summary(parted.curated.near_uri) == read_summary(merged.curated.near_uri)
    assert parted.funnel.to_records() == merged.funnel.to_records()


def test_near_duplicates_run_again_are_not_looked_for_again(first, pool):
    root = Path(first.curated.near_uri).parents[1]
    made = [path for folder in ("hashes", "near", "counts") for path in (root / folder).rglob("*.*")]
    stamps = {path: path.stat().st_mtime_ns for path in made}
    again = curated(pool, root)
    assert again.funnel.to_records() == first.funnel.to_records()
    assert {path: path.stat().st_mtime_ns for path in made} == stamps
    assert len(made) > 2 * NUM_SHARDS


def test_near_duplicates_at_another_distance_hash_no_image_again(first, pool):
    root = Path(first.curated.near_uri).parents[1]
    closer = curated(pool, root, near_distance=0)
    assert closer.curated.hashes_uri == first.curated.hashes_uri
    assert closer.curated.near_uri != first.curated.near_uri
    assert set(rows_of(read_unique, closer)) > set(rows_of(read_unique, first))


def test_a_pool_that_grew_hashes_new_shards_alone(cluster, pool, tmp_path):
    part = tmp_path / "pool"
    part.mkdir()
    (tmp_path / "lists").symlink_to(pool.parent / "lists")
    shards = sorted(pool.glob("*.tar"))
    for shard in shards[:2]:
        (part / shard.name).symlink_to(shard)
    before = curated(part, tmp_path / "root")
    hashes = Path(before.curated.hashes_uri)
    stamps = {path.name: path.stat().st_mtime_ns for path in hashes.iterdir()}
    (part / shards[2].name).symlink_to(shards[2])
    after = curated(part, tmp_path / "root")
    assert after.curated.hashes_uri == before.curated.hashes_uri
    later = {path.name: path.stat().st_mtime_ns for path in hashes.iterdir()}
    assert len(later) == 3
    assert {name: later[name] for name in stamps} == stamps


@pytest.mark.slow
def test_hashing_killed_and_run_again_repeats_no_finished_shard(first, pool, tmp_path):
    config = build_config(recipe(pool, tmp_path / "root"))
    import_metadata(str(pool.parent / "lists"), config)
    written = tmp_path / "recipe.yaml"
    written.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "ray_jobs.curate", "--recipe", str(written), "--json"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (finished := list((tmp_path / "root").glob("hashes/*/*.parquet"))):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path: path.stat().st_mtime_ns for path in (tmp_path / "root").glob("hashes/*/*.parquet")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert json.loads(done.stdout.splitlines()[-1])["funnel"] == first.funnel.to_records()


def test_numbers_of_images_hold_the_largest_shard_and_row():
    image = pa.scalar((2**31 - 1) << 32 | (2**31 - 1)).as_py()
    table = near_duplicates._located(np.array([image]), np.array([5 << 32 | 7]))
    assert table.to_pylist() == [{"shard": 2**31 - 1, "row": 2**31 - 1, "keeper_shard": 5, "keeper_row": 7}]


def test_pairs_that_look_like_a_benchmark_are_screened_out_and_listed(pool, tmp_path, cluster):
    keeper = next(keeper for keeper in KEEPERS.values() if keeper[0] == 1)
    alike = {keeper, *(place for place, kept in KEEPERS.items() if kept == keeper)}
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "0.jpg").write_bytes(SHARDS[keeper[0]][keeper[1]][0])
    hashes = str(tmp_path / "benchmark.parquet")
    make_hash_file(build_config({}), folder_uri=str(tmp_path / "benchmark"), out_uri=hashes)
    result = curated(pool, tmp_path, near_duplicates="keep", benchmarks=[hashes])
    listed = read_contamination(result.curated.contamination_uri, range(NUM_SHARDS)).to_pylist()
    assert {(row["shard"], row["row"]) for row in listed} == alike
    assert {row["image"] for row in listed} == {"0.jpg"}
    assert result.funnel.dropped[Stage.CONTAMINATION, DropReason.CONTAMINATION] == len(alike)
    assert alike.isdisjoint(rows_of(read_unique, result))
    assert rows_of(read_unique, result)
