import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from PIL import Image

from metaclip_core.sample.digits import split_scans
from metaclip_core.sample.pool import MARKER, TRUTH, write_sample

LOCAL = pafs.LocalFileSystem()
IMAGE_FAULTS = {"garbage_image", "truncated_image", "huge_image"}


def digests(path):
    return json.loads((path / MARKER).read_text())["sha256"]


def read_shards(path):
    """(shard, key) → suffix → bytes, in tar order."""
    samples = {}
    for shard in sorted(path.glob("*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                key, _, suffix = member.name.rpartition(".")
                samples.setdefault((shard.name, key), {})[suffix] = archive.extractfile(member).read()
    return samples


def read_truth(path):
    table = pq.read_table(path / "truth.parquet")
    assert table.schema.equals(TRUTH)
    return table.to_pylist()


def test_write_sample_again_elsewhere_and_with_another_hash_seed_is_byte_equal(sample_path, tmp_path):
    program = (
        "import sys, pyarrow.fs as f; from metaclip_core.sample.pool import write_sample as w;"
        "w(f.LocalFileSystem(), sys.argv[1], num_images=400, shard_rows=100, seed=3)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", program, str(tmp_path / "again")]
    subprocess.run(command, env=environment, check=True)
    files = sorted(p.relative_to(sample_path) for p in sample_path.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(tmp_path / "again") for p in (tmp_path / "again").rglob("*") if p.is_file())
    for file in files:
        assert (sample_path / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file


def test_write_sample_with_another_seed_gives_other_shards(sample_path, tmp_path):
    write_sample(LOCAL, str(tmp_path), num_images=20, shard_rows=10, seed=4)
    assert digests(tmp_path)["00000.tar"] != digests(sample_path)["00000.tar"]
    assert digests(tmp_path)["metadata/en.txt"] == digests(sample_path)["metadata/en.txt"]


def test_marker_lists_every_file_with_its_digest(sample_path):
    files = {str(p.relative_to(sample_path)) for p in sample_path.rglob("*") if p.is_file()}
    assert files == {MARKER, *digests(sample_path)}
    for name, digest in digests(sample_path).items():
        assert hashlib.sha256((sample_path / name).read_bytes()).hexdigest() == digest


def test_truth_has_a_row_for_each_key_in_tar_order(sample_path):
    truth, shards = read_truth(sample_path), read_shards(sample_path)
    assert [(row["shard"], row["key"]) for row in truth] == list(shards)
    assert [row["row"] for row in truth] == [index % 100 for index in range(400)]


def test_pool_holds_no_held_out_scan(sample_path):
    used = {scan for row in read_truth(sample_path) for scan in row["scans"]}
    assert used
    assert not used & split_scans(3).held_out.ids


def test_members_are_as_the_truth_says(sample_path):
    shards = read_shards(sample_path)
    formats = set()
    for row in read_truth(sample_path):
        members = dict(shards[row["shard"], row["key"]])
        document = members.pop("json", None)
        assert (document is None) == (row["furniture"] == "no_json")
        assert (not members) == (row["furniture"] == "no_image")
        if row["fate"] == "usable" and row["furniture"] != "broken_utf8":
            content = json.loads(document)
            assert content["url"] == row["url"]
            assert [text["type"] for text in content["texts"]] == [text["kind"] for text in row["texts"]]
        for data in members.values():
            if row["furniture"] in IMAGE_FAULTS:
                with pytest.raises((OSError, SyntaxError, Image.DecompressionBombError)):
                    Image.open(io.BytesIO(data)).load()
            else:
                image = Image.open(io.BytesIO(data))
                image.load()
                formats.add(image.format)
    assert formats == {"JPEG", "PNG", "WEBP"}


def test_write_sample_where_it_is_complete_changes_nothing(sample_path):
    def stamps():
        return {path: path.stat().st_mtime_ns for path in sample_path.rglob("*")}

    before = stamps()
    write_sample(LOCAL, str(sample_path), num_images=400, shard_rows=100, seed=3, progress=pytest.fail)
    assert stamps() == before


def test_write_sample_over_another_sample_is_refused(sample_path):
    with pytest.raises(FileExistsError, match="'seed': 3"):
        write_sample(LOCAL, str(sample_path), num_images=400, shard_rows=100, seed=4)


def test_write_sample_beside_shards_of_another_pool_is_refused(tmp_path):
    (tmp_path / "mine.tar").touch()
    with pytest.raises(FileExistsError, match=r"mine\.tar"):
        write_sample(LOCAL, str(tmp_path), num_images=10)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.tar"]


def test_write_sample_after_an_interruption_is_made_whole(tmp_path):
    def interrupt(_written):
        raise KeyboardInterrupt

    filesystem, path = pafs.SubTreeFileSystem(str(tmp_path), LOCAL), tmp_path / "numbers"
    with pytest.raises(KeyboardInterrupt):
        write_sample(filesystem, "numbers/", num_images=20, shard_rows=10, seed=3, progress=interrupt)
    assert [file.name for file in path.iterdir()] == ["00000.tar"]
    (path / "00001.tar").write_bytes(b"half")
    told = []
    write_sample(filesystem, "numbers/", num_images=20, shard_rows=10, seed=3, progress=told.append)
    assert told == [10, 20]
    for name, digest in digests(path).items():
        assert hashlib.sha256((path / name).read_bytes()).hexdigest() == digest


@pytest.mark.parametrize("wrong", [{"num_images": 0}, {"shard_rows": 0}, {"seed": -1}])
def test_write_sample_of_impossible_parameters_is_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="can be made"):
        write_sample(LOCAL, str(tmp_path), **wrong)
