import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.records import ANNOTATED, Stage
from pipelines import deduplicate
from pipelines.annotate import read_annotations
from pipelines.config import build_config
from pipelines.count import read_counts
from pipelines.curate import curate, language_table, load_curation
from pipelines.errors import UserError
from pipelines.metadata import import_metadata

pytestmark = pytest.mark.ray


def quiet(*_):
    """No progress."""


def curated(config, sample):
    import_metadata(str(sample / "metadata"), config)
    return curate(config, progress=quiet)


def all_annotations(result):
    shards = range(result.curated.num_shards)
    return pa.concat_tables(read_annotations(result.curated.annotations_uri, shard) for shard in shards)


@pytest.fixture(scope="module")
def reference(cluster, sample, tmp_path_factory):
    """One curation in one block."""
    root = tmp_path_factory.mktemp("reference")
    config = build_config(
        {
            "root": str(root),
            "pool": {"name": "numbers", "uri": str(sample)},
            "metadata": {"name": "numbers"},
            "curation": {"p": 0.3},
            "compute": {"shard_blocks": 1, "max_actors": 1},
        }
    )
    return curated(config, sample)


def test_curate_with_the_other_engine_threads_and_a_budget_gives_identical_annotations(reference, sample, make_config):
    compute = ["matcher_engine=daachorse", "matcher_threads=2", "matcher_budget_mb=1", "max_actors=1"]
    other = curated(make_config(*(f"compute.{setting}" for setting in compute), "curation.batch_rows=64"), sample)
    assert all_annotations(other).equals(all_annotations(reference))


def test_curate_with_more_threads_than_a_node_has_cpus_is_refused(cluster, sample, make_config):
    with pytest.raises(UserError, match="matcher_threads 64 needs as many CPUs"):
        curated(make_config("compute.matcher_threads=64"), sample)


def test_curate_with_many_blocks_and_actors_gives_identical_artefacts(reference, sample, make_config):
    other = curated(make_config("compute.shard_blocks=8", "compute.max_actors=2"), sample)
    assert all_annotations(other).equals(all_annotations(reference))
    assert other.thresholds == reference.thresholds
    assert other.expected == pytest.approx(reference.expected, rel=1e-12)
    assert other.funnel.to_records() == reference.funnel.to_records()
    ours, theirs = Path(other.curated.counts_uri), Path(reference.curated.counts_uri)
    assert (ours / "counts.parquet").read_bytes() == (theirs / "counts.parquet").read_bytes()


def test_curate_funnel_agrees_with_the_truth_of_the_sample(reference, sample):
    truth = pq.read_table(sample / "truth.parquet").to_pylist()
    fates = [row["fate"] for row in truth]
    decoded_later = {"usable", "image_broken", "image_pixels_over_limit"}
    funnel = {record["stage"]: record for record in reference.funnel.to_records()}
    expected = {fate: fates.count(fate) for fate in set(fates) - decoded_later - {"duplicate"}}
    assert funnel[Stage.READ]["rows_in"] == len(truth)
    assert funnel[Stage.READ]["dropped"] == expected
    assert funnel[Stage.DEDUPLICATE]["dropped"].get("duplicate", 0) == fates.count("duplicate")
    assert funnel[Stage.DEDUPLICATE]["rows_in"] == funnel[Stage.READ]["rows_out"]
    assert funnel[Stage.MATCH]["rows_in"] == funnel[Stage.DEDUPLICATE]["rows_out"]


def test_curate_counts_equal_a_plain_count_over_the_annotations(reference):
    seen, counts = set(), {}
    for pair in all_annotations(reference).to_pylist():
        if pair["pair_id"] in seen:
            continue
        seen.add(pair["pair_id"])
        for caption in pair["captions"]:
            for entry_id in caption["entry_ids"]:
                key = caption["language"], entry_id
                counts[key] = counts.get(key, 0) + 1
    table = pq.read_table(Path(reference.curated.counts_uri) / "counts.parquet")
    assert table.schema.names == ["language", "entry_id", "entry", "count"]
    found = {(row["language"], row["entry_id"]): row["count"] for row in table.to_pylist() if row["count"]}
    assert found == counts


def test_curate_annotations_name_entries_that_occur_in_their_caption(reference):
    table = pq.read_table(Path(reference.curated.counts_uri) / "counts.parquet")
    entries = {(row["language"], row["entry_id"]): row["entry"] for row in table.to_pylist()}
    annotated = all_annotations(reference)
    assert annotated.schema.names == ANNOTATED.names
    num_checked = 0
    for pair in annotated.to_pylist():
        for caption in pair["captions"]:
            for entry_id in caption["entry_ids"]:
                letters = [c for c in entries[caption["language"], entry_id] if c.isalnum()]
                assert all(letter in caption["text"] for letter in letters)
                num_checked += 1
    assert num_checked > 1000


def test_curate_language_table_counts_every_caption_once(reference):
    rows = language_table(reference)
    num_captions = sum(len(pair["captions"]) for pair in all_annotations(reference).to_pylist())
    duplicates = reference.funnel.dropped[Stage.DEDUPLICATE, "duplicate"]
    assert num_captions - 2 * duplicates <= sum(row.captions for row in rows) <= num_captions
    assert rows[0].language == "en"
    assert all(row.matched <= row.captions for row in rows)


def test_curate_pool_that_grew_annotates_new_shards_alone(cluster, sample, make_config, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    shards = sorted(sample.glob("*.tar"))
    for shard in shards[:3]:
        (pool / shard.name).symlink_to(shard)
    config = make_config(f"pool.uri={pool}")
    first = curated(config, sample)
    stamps = {path.name: path.stat().st_mtime_ns for path in Path(first.curated.annotations_uri).iterdir()}
    for shard in shards[3:5]:
        (pool / shard.name).symlink_to(shard)
    second = curated(config, sample)
    later = {path.name: path.stat().st_mtime_ns for path in Path(second.curated.annotations_uri).iterdir()}
    assert second.curated.annotations_uri == first.curated.annotations_uri
    assert len(later) == 5
    assert {name: later[name] for name in stamps} == stamps
    assert second.curated.counts_uri != first.curated.counts_uri
    total = sum(int(counts.sum()) for counts in read_counts(second.curated.counts_uri).matches.values())
    assert total > sum(int(counts.sum()) for counts in read_counts(first.curated.counts_uri).matches.values())


def test_curate_of_a_pool_that_needs_a_shuffle_finds_the_same_duplicates(reference, sample, make_config, monkeypatch):
    monkeypatch.setattr(deduplicate, "_SHARDS_PER_PART", 1)
    shuffled = curated(make_config(), sample)
    assert shuffled.funnel.to_records() == reference.funnel.to_records()
    folders = [Path(result.curated.duplicates_uri) for result in (shuffled, reference)]
    found = [{path.name: pq.read_table(path).to_pydict() for path in folder.glob("*.parquet")} for folder in folders]
    assert found[0] == found[1]
    assert found[0]


def test_curate_without_metadata_says_what_to_run(cluster, make_config):
    with pytest.raises(UserError, match="metaclip metadata import"):
        curate(make_config(), progress=quiet)


def test_curate_of_metadata_that_matches_nothing_is_refused(cluster, sample, make_config, tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "gl.txt").write_text("zyzzyva\n")  # no caption of the sample is Galician
    config = make_config()
    import_metadata(str(lists), config)
    with pytest.raises(UserError, match="mentions any metadata entry"):
        curate(config, progress=quiet)


def test_load_curation_with_another_threshold_is_refused(reference, sample, make_config):
    config = make_config("curation.p=0.1")
    import_metadata(str(sample / "metadata"), config)
    with pytest.raises(UserError, match="metaclip curate"):
        load_curation(config)


def test_curate_killed_and_run_again_repeats_no_finished_shard(reference, sample, make_config, tmp_path):
    config = make_config()
    import_metadata(str(sample / "metadata"), config)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    command = [sys.executable, "-m", "ray_jobs.curate", "--recipe", str(recipe), "--json"]
    root = Path(config.root)
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not (finished := list(root.glob("annotations/*/*.parquet"))):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path: path.stat().st_mtime_ns for path in root.glob("annotations/*/*.parquet")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert summary["thresholds"] == reference.thresholds.t
    assert summary["funnel"] == reference.funnel.to_records()
    counts = Path(summary["counts_uri"]) / "counts.parquet"
    assert counts.read_bytes() == (Path(reference.curated.counts_uri) / "counts.parquet").read_bytes()
