"""The command line as a user meets it: errors that they can mend are one sentence and exit code 2."""

import json
import os
import subprocess
import sys

import pytest

from ray_jobs.options import guarded
from tests.stores import BUCKET


def metaclip(*arguments, cwd=None):
    """A finished `metaclip` command."""
    command = [sys.executable, "-c", "from ray_jobs.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, cwd=cwd)


def assert_one_clear_sentence(done, *words):
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    lines = [line for line in done.stderr.splitlines() if line.startswith("metaclip: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "nope"], ["nope", "demo"]),
        (["--set", "curation.q=1"], ["unknown key curation.q"]),
        (["--set", "curation.p=2"], ["curation.p"]),
        (["--set", "curation.t_en=5"], ["p", "t_en"]),
        (["--set", "training.global_batch_size=31"], ["31", "num_workers"]),
        (["--set", "nonsense"], ["a.b=c"]),
    ],
)
def test_command_with_a_bad_recipe_names_the_key(arguments, words):
    assert_one_clear_sentence(metaclip("curate", *arguments), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--p", "0.1", "--t-en", "20"], ["one of --p and --t-en"]),
        (["--p", "0.02,1.5"], ["0 to 1", "0.02,1.5"]),
        (["--p", "nan"], ["0 to 1"]),
        (["--p", "0.2,0.06"], ["ascending", "0.2,0.06"]),
        (["--p", "0.2,0.2"], ["ascending"]),
        (["--p", "0.2;0.3"], ["commas"]),
        (["--t-en", "0,5"], ["at least 1"]),
        (["--t-en", "20.5"], ["numbers separated by commas", "20.5"]),
    ],
)
def test_thresholds_of_dials_that_cannot_be_set_say_so(arguments, words, tmp_path):
    assert_one_clear_sentence(metaclip("thresholds", *arguments, "--root", tmp_path), *words)


@pytest.mark.ray
@pytest.mark.parametrize("command", ["curate", "thresholds", "train", "evaluate", "report", "export-pool"])
def test_command_without_a_pool_says_so_and_writes_nothing(command, tmp_path):
    done = metaclip(command, "--root", tmp_path / "root")
    assert_one_clear_sentence(done, "pool" if command == "curate" else "curate")
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("option", "words"), [(["--epoch", "-1"], ["epoch -1"]), (["--format", "zip"], ["zip", "ids"])]
)
def test_export_of_what_there_is_not_says_so_and_writes_nothing(option, words, tmp_path):
    assert_one_clear_sentence(metaclip("export-pool", "--root", tmp_path / "root", *option), *words)
    assert not (tmp_path / "root").exists()


def test_sample_into_a_folder_with_another_sample_is_refused(sample):
    done = metaclip("sample", "--out", sample, "--images", "80", "--shard-rows", "40")
    assert_one_clear_sentence(done, "sample")


def test_metadata_import_of_an_unknown_language_names_the_file(tmp_path):
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "klingon.txt").write_text("tlhIngan\n")
    done = metaclip("metadata", "import", lists, "--root", tmp_path / "root")
    assert_one_clear_sentence(done, "klingon")
    assert not (tmp_path / "root").exists()


def test_hashes_of_no_folder_says_so(tmp_path):
    done = metaclip("hashes", tmp_path / "nowhere", "--out", tmp_path / "hashes.parquet")
    assert_one_clear_sentence(done, "no such folder", "nowhere")


def test_metadata_import_of_no_folder_says_so(tmp_path):
    done = metaclip("metadata", "import", tmp_path / "nowhere", "--root", tmp_path / "root")
    assert_one_clear_sentence(done, "nowhere")


@pytest.mark.ray
def test_curate_from_an_unreachable_store_says_so(tmp_path):
    arguments = ["--root", tmp_path, "--set", "pool.uri=s3://bucket/pool?endpoint_override=127.0.0.1:9&scheme=http"]
    assert_one_clear_sentence(metaclip("curate", *arguments), "s3://bucket/pool")


@pytest.mark.ray
def test_curate_of_an_empty_pool_says_so(tmp_path):
    (tmp_path / "pool").mkdir()
    assert_one_clear_sentence(metaclip("curate", "--root", tmp_path, "--set", "pool.uri=pool"), "empty")


@pytest.mark.ray
def test_train_with_too_few_cpus_shows_the_arithmetic(sample, tmp_path):
    common = ["--root", tmp_path, "--set", f"pool.uri={sample}"]
    assert metaclip("metadata", "import", sample / "metadata", *common).returncode == 0
    curated = metaclip("curate", *common, "--json")
    assert curated.returncode == 0, curated.stderr
    summary = json.loads(curated.stdout.splitlines()[-1])
    assert set(summary) == {"annotations_uri", "counts_uri", "thresholds", "p", "funnel"}
    done = metaclip("train", *common, "--set", "compute.local_cpus=2")
    assert_one_clear_sentence(done, "too few CPUs", "= 5", "has 2")


def test_links_of_no_crawl_says_so_and_writes_nothing(tmp_path):
    done = metaclip("links", "--wat", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert_one_clear_sentence(done, "no such folder", "nowhere")
    assert not (tmp_path / "out").exists()


def test_store_that_refuses_its_keys_is_told_in_a_sentence(store, tmp_path):
    environment = store.environment() | {"AWS_SECRET_ACCESS_KEY": "x" * 40}
    command = [sys.executable, "-m", "ray_jobs.train", "--root", f"s3://{BUCKET}/root"]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "metaclip: the store: " in done.stderr
    assert "ACCESS_DENIED" in done.stderr


@pytest.mark.parametrize("error", [OSError("no disk"), ValueError("AWS Error")])
def test_other_errors_keep_their_traces(error):
    def fail():
        raise error

    with pytest.raises(type(error)):
        guarded(fail)
