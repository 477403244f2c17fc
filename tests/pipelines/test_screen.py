import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.records import DropReason, Stage
from pipelines import deduplicate, storage
from pipelines.annotate import read_annotations
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.errors import UserError
from pipelines.manifest import load_manifest
from pipelines.metadata import import_metadata
from pipelines.score import Score, read_scores
from pipelines.selection import read_unique

pytestmark = pytest.mark.ray

BLOCKED, OPTED_OUT = "cdn.nombres.example", "suuji.example"
WORD, MAX_WORD, MIN_BYTE, MIN_BYTES = "e", 0.75, 0.125, 700
CURATION = {
    "p": 0.3,
    "block_lists": ["block.txt"],
    "opt_out_lists": ["out.txt"],
    "classifiers": [
        {"name": "words", "options": {"word": WORD}, "drop_above": MAX_WORD},
        {"name": "bytes", "options": {"min_bytes": MIN_BYTES}, "drop_below": MIN_BYTE, "batch_rows": 7},
    ],
    "max_dropped": {},
}


def quiet(*_):
    """No progress."""


def write_lists(root):
    root.mkdir(exist_ok=True)
    (root / "block.txt").write_text(f"{BLOCKED}\nhttps://numbers.example/2009/\nno domain\n")
    (root / "out.txt").write_text(OPTED_OUT)
    return root


def recipe_of(root, pool, *, curation=CURATION, **compute):
    return {
        "root": str(root),
        "pool": {"name": "numbers", "uri": str(pool)},
        "metadata": {"name": "numbers"},
        "curation": curation,
        "compute": {"timeout_s": 120, **compute},
    }


def curated(recipe, sample):
    config = build_config(recipe)
    import_metadata(str(sample / "metadata"), config)
    return curate(config, progress=quiet)


@pytest.fixture(scope="module")
def reference(cluster, sample, tmp_path_factory):
    """One screened curation in one block."""
    root = write_lists(tmp_path_factory.mktemp("screened"))
    return curated(recipe_of(root, sample, shard_blocks=1, max_actors=1), sample)


@pytest.fixture(scope="module")
def expected(reference, sample):
    """(shard, row) → why the pair is left out, in the slow and obvious way; None where it stays."""
    reasons = {}
    for shard, path in enumerate(sorted(sample.glob("*.tar"))):
        content = path.read_bytes()
        for pair in read_annotations(reference.curated.annotations_uri, shard).to_pylist():
            image = content[pair["image_offset"] : pair["image_offset"] + pair["image_length"]]
            reasons[shard, pair["row"]] = reason_of(pair["url"], [text["text"] for text in pair["captions"]], image)
    return reasons


def reason_of(url, texts, image):
    host, year = urlsplit(url).hostname, urlsplit(url).path.split("/")[1]
    if host == BLOCKED or (host, year) == ("numbers.example", "2009"):
        return "block", "blocked_url"
    if host == OPTED_OUT:
        return "opt_out", "opted_out"
    if sum(WORD in text for text in texts) / len(texts) > MAX_WORD:
        return "classify words", "score_above"
    if len(image) < MIN_BYTES:
        return "classify bytes", "unscored"
    if hashlib.sha256(image).digest()[0] / 255 < MIN_BYTE:
        return "classify bytes", "score_below"
    return None


def test_screened_pool_leaves_out_what_a_plain_loop_does(reference, expected):
    for shard in range(reference.curated.num_shards):
        left_out = pq.read_table(storage.shard_file(reference.curated.screens_uri, shard)).to_pylist()
        assert [(row["row"], row["reason"]) for row in left_out] == [
            (row, found[1]) for (of_shard, row), found in expected.items() if of_shard == shard and found
        ]
    assert {found[1] for found in expected.values() if found} == {
        "blocked_url", "opted_out", "score_above", "score_below", "unscored"
    }  # fmt: skip


def test_funnel_of_a_screened_pool_agrees_with_a_plain_loop_and_adds_up(reference, expected):
    lines = reference.funnel.to_records()
    assert [line["stage"] for line in lines[-6:]] == [
        "block", "opt_out", "classify words", "classify bytes", "deduplicate", "match"
    ]  # fmt: skip
    counts = Counter(found for found in expected.values() if found)
    flow = [line for line in lines if line["stage"] not in {Stage.SHARDS, Stage.CAPTIONS}]
    for before, line in pairwise(flow):
        assert line["rows_in"] == before["rows_out"]
    for line in lines:
        assert line["rows_in"] == line["rows_out"] + sum(line["dropped"].values())
    for line in lines[-6:-2]:
        here = {reason: number for (stage, reason), number in counts.items() if stage == line["stage"]}
        assert line["dropped"] == here


def test_pairs_that_are_left_out_are_neither_counted_nor_drawn(reference, expected):
    kept = {key for key, found in expected.items() if found is None}
    shards = range(reference.curated.num_shards)
    unique = [(shard, row) for shard in shards for row in read_unique(reference.curated, shard)["row"].to_pylist()]
    assert set(unique) <= kept
    assert len(unique) == reference.funnel.rows_out(Stage.DEDUPLICATE)
    assert sum(reference.expected.values()) <= len(unique)


def test_screening_in_many_blocks_and_actors_gives_identical_artefacts(reference, sample, tmp_path):
    curation = json.loads(json.dumps(CURATION))
    for classifier in curation["classifiers"]:
        classifier.update(max_actors=2, num_cpus=0.5, batch_rows=5)
    recipe = recipe_of(write_lists(tmp_path), sample, curation=curation, shard_blocks=8, max_actors=2)
    other = curated(recipe, sample)
    assert same_artefacts(tmp_path, Path(reference.curated.annotations_uri).parents[1])
    assert other.funnel.to_records() == reference.funnel.to_records()
    assert other.thresholds == reference.thresholds


def same_artefacts(root, other):
    """Whether two roots hold the same scores, screens and counts under the same names."""
    found = [
        {str(path.relative_to(folder)): pq.read_table(path).to_pydict() for path in folder.rglob("*.parquet")}
        for folder in (root, other)
    ]
    assert len([name for name in found[0] if name.startswith(("scores/", "screens/"))]) == 3 * 12
    return found[0] == found[1]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_screening_killed_and_run_again_repeats_no_finished_shard(reference, sample, tmp_path, classifiers):
    root = write_lists(tmp_path / "root")
    recipe = recipe_of(root, sample, shard_blocks=4)
    import_metadata(str(sample / "metadata"), build_config(recipe))
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(recipe))
    command = [sys.executable, "-m", "ray_jobs.curate", "--recipe", str(file), "--json"]
    said = tmp_path / "stderr.txt"
    with said.open("w") as stream:
        job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stream, start_new_session=True)
    deadline = time.monotonic() + 240
    try:
        while not list(root.glob("scores/*/*.parquet")):
            assert time.monotonic() < deadline
            assert job.poll() is None, said.read_text()[-2_000:]
            time.sleep(0.01)
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    finished = {path: path.stat().st_mtime_ns for path in root.rglob("*/*/*.parquet")}
    assert not list(root.glob("counts/*"))
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert summary["funnel"] == reference.funnel.to_records()
    assert same_artefacts(root, Path(reference.curated.annotations_uri).parents[1])


def write_shard(folder, name, pairs):
    """A shard of (url, caption) pairs; the image is what the URL says."""
    with tarfile.open(folder / name, "w") as archive:
        for number, (url, text) in enumerate(pairs):
            document = json.dumps({"url": url, "texts": [{"type": "alt", "text": text}]}).encode()
            for suffix, data in (("jpg", url.encode()), ("json", document)):
                header = tarfile.TarInfo(f"{number:03d}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


@pytest.fixture
def small(cluster, sample, tmp_path):
    """A pool of two shards that share a pair, and a recipe over it."""
    pool = tmp_path / "pool"
    pool.mkdir()
    write_shard(pool, "0.tar", [("http://a.example/1", "a bad dog number one"), ("http://a.example/2", "two")])
    write_shard(pool, "1.tar", [("http://a.example/1", "the number one"), ("http://b.example/3", "three")])
    root = tmp_path / "root"
    root.mkdir()

    def run(**curation):
        return curated(recipe_of(root, pool, curation={"p": 0.3, **curation}), sample)

    return run, pool, root


def test_first_pair_of_an_id_that_is_fit_counts(small):
    run, _, root = small
    shown = run()
    assert (shown.curated.screens_uri, shown.curated.scores_uris) == (None, ())
    assert not (root / "screens").exists()
    screened = run(classifiers=[{"name": "words", "options": {"word": "bad"}, "drop_above": 0.5}])
    rows = [[read_unique(result.curated, shard)["row"].to_pylist() for shard in (0, 1)] for result in (shown, screened)]
    assert rows == [[[0, 1], [1]], [[1], [0, 1]]]
    assert screened.funnel.dropped[Stage.DEDUPLICATE, DropReason.DUPLICATE] == 0


def stamps(uri):
    return {path.name: path.stat().st_mtime_ns for path in Path(uri).iterdir()}


def test_what_is_scored_and_screened_is_not_done_again_but_for_what_changed(small):
    run, pool, root = small
    notes, block_list = root / "notes.txt", root / "block.txt"
    block_list.write_text("b.example")

    def settings(drop_above):
        words = {"name": "words", "options": {"word": "bad", "notes": str(notes)}, "drop_above": drop_above}
        return {"block_lists": ["block.txt"], "classifiers": [words]}

    first = run(**settings(0.5))
    assert first.funnel.rows_out("classify words") == 2
    assert len(notes.read_text().splitlines()) == 4
    other_threshold = run(**settings(1.0))
    assert other_threshold.funnel.rows_out("classify words") == 3
    assert other_threshold.curated.scores_uris == first.curated.scores_uris
    assert len(notes.read_text().splitlines()) == 4
    before = [stamps(uri) for uri in (first.curated.screens_uri, *first.curated.scores_uris)]
    write_shard(pool, "2.tar", [("http://b.example/4", "four"), ("http://c.example/5", "five")])
    grown = run(**settings(0.5))
    after = [stamps(uri) for uri in (grown.curated.screens_uri, *grown.curated.scores_uris)]
    assert grown.curated.screens_uri == first.curated.screens_uri
    for earlier, later in zip(before, after, strict=True):
        assert later.items() > earlier.items()
        assert len(later) == 3
    assert notes.read_text().splitlines()[4:] == ["http://b.example/4", "http://c.example/5"]
    block_list.write_text("c.example")
    other_list = run(**settings(0.5))
    assert other_list.curated.screens_uri != grown.curated.screens_uri
    assert other_list.curated.annotations_uri == grown.curated.annotations_uri
    assert len(notes.read_text().splitlines()) == 6
    assert other_list.funnel.dropped[Stage.BLOCK, DropReason.BLOCKED_URL] == 1


def test_classifier_that_fails_ends_the_job_with_its_name(small):
    run, _, root = small
    faulty = {"name": "faulty", "drop_above": 0.5, "options": {"fault": "raises"}}
    with pytest.raises(UserError, match=r"^classifier 'faulty' failed on shard .\.tar: KeyError: 'nsfw'$"):
        run(classifiers=[faulty])
    assert not (root / "screens").exists()


@pytest.mark.parametrize("resources", [{"num_gpus": 64}, {"num_cpus": 640}])
def test_classifier_that_no_node_can_hold_is_refused(small, resources):
    run, *_ = small
    words = {"name": "words", "options": {"word": "bad"}, "drop_above": 0.5, **resources}
    with pytest.raises(UserError, match=r"classifier 'words' needs .* and no node of the cluster has them"):
        run(classifiers=[words])


@pytest.mark.parametrize("shards_per_part", [256, pytest.param(1, marks=pytest.mark.slow)])
def test_pool_of_which_nothing_is_left_is_told_and_what_took_it(small, shards_per_part, monkeypatch):
    monkeypatch.setattr(deduplicate, "_SHARDS_PER_PART", shards_per_part)
    run, _, root = small
    (root / "block.txt").write_text("a.example")
    (root / "out.txt").write_text("b.example")
    with pytest.raises(UserError, match=r"stage 'opt_out' left nothing of pool 'numbers': 1 opted_out"):
        run(block_lists=["block.txt"], opt_out_lists=["out.txt"])


def test_missing_list_is_told_before_anything_is_done(small):
    run, _, root = small
    with pytest.raises(UserError, match=r"there is no file .*nowhere\.txt"):
        run(block_lists=["nowhere.txt"])
    assert not (root / "annotations").exists()


def scored(reference, sample, root, classifier):
    """What the stage makes of the first shard when it is called on a table."""
    config = build_config(recipe_of(root, sample, curation={"classifiers": [classifier]}))
    stage = Score(
        config,
        config.curation.classifiers[0],
        annotations_uri=reference.curated.annotations_uri,
        scores_uri=str(root / "scores"),
        version=f"{classifier['name']} 1",
    )
    reference_config = build_config(recipe_of(Path(reference.curated.annotations_uri).parents[1], sample))
    [problem] = stage(load_manifest(reference_config).table.slice(0, 1))["problem"].to_pylist()
    return problem


@pytest.mark.parametrize("batch_rows", [1, 1_000])
def test_scores_of_a_shard_do_not_depend_on_its_batches(reference, sample, tmp_path, batch_rows):
    classifier = {**CURATION["classifiers"][1], "batch_rows": batch_rows}
    assert scored(reference, sample, tmp_path, classifier) is None
    assert read_scores(str(tmp_path / "scores"), 0).equals(read_scores(reference.curated.scores_uris[1], 0))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("init", "classifier 'faulty' can't be made with the options {'fault': 'init'}: FileNotFoundError: no weights"),
        ("raises", "classifier 'faulty' failed on shard 00000.tar: KeyError: 'nsfw'"),
        ("short", "classifier 'faulty' failed on shard 00000.tar: it gave 1 scores for"),
        ("text", "classifier 'faulty' failed on shard 00000.tar: it gave no list of numbers"),
        ("logits", "classifier 'faulty' failed on shard 00000.tar: it gave a score of 3.2"),
        ("none", "classifier 'faulty' failed on shard 00000.tar: it gave no list of numbers"),
    ],
)
def test_classifier_at_fault_is_told_in_one_sentence_and_stores_nothing(reference, sample, tmp_path, fault, message):
    classifier = {"name": "faulty", "drop_above": 0.5, "options": {"fault": fault}}
    problem = scored(reference, sample, tmp_path, classifier)
    assert problem.startswith(message)
    assert "\n" not in problem
    assert not (tmp_path / "scores").exists()


def test_classifier_of_another_version_on_a_node_is_refused(reference, sample, tmp_path):
    classifier = {"name": "faulty", "drop_above": 0.5, "options": {"fault": "none"}}
    config = build_config(recipe_of(tmp_path, sample, curation={"classifiers": [classifier]}))
    stage = Score(config, config.curation.classifiers[0], annotations_uri="", scores_uri="", version="faulty 2")
    shards = pa.table({"shard": pa.array([0], pa.int32()), "name": ["00000.tar"]})
    assert stage(shards)["problem"].to_pylist() == [
        "classifier 'faulty' is faulty 1 on this node, and faulty 2 where the job was started"
    ]
