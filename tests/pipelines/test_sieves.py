import hashlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from metaclip_core.funnel import Funnel
from pipelines import storage
from pipelines.config import build_config
from pipelines.curated import Curated
from pipelines.screen import screen_pairs
from pipelines.sieves import COLUMNS, open_sieves
from pipelines.sources.base import open_source

IMAGES = {name: f"image {name}".encode() for name in "abcdef"}
SHARD = {"name": "shard.parquet", "shard": 0}


@pytest.fixture
def pool(tmp_path):
    """Six pairs a.example/a, b.example/b, …, each with its image in a file of its own; that of d is missing."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for name, image in IMAGES.items():
        (folder / name).write_bytes(image)
    (folder / "d").unlink()
    urls = [f"http://{name}.example/{name}" for name in IMAGES]
    table = pa.table({"url": urls, "captions": ["a caption"] * len(urls), "file": list(IMAGES)})
    pq.write_table(table, folder / SHARD["name"])
    return folder


def opened(root, *, scores_uris=(), **curation):
    """The pairs of the pool, and the recipe's sieves."""
    columns = {"image": None, "image_path": "file"}
    pool = {"uri": str(root / "pool"), "format": "parquet", "columns": columns}
    config = build_config({"root": str(root), "pool": pool, "curation": curation})
    [pairs] = open_source(config).read_captions(SHARD["name"], shard=0, batch_rows=100, funnel=Funnel())
    uris = dict.fromkeys(("metadata_uri", "annotations_uri", "duplicates_uri", "counts_uri", "thresholds_uri"), "")
    curated = Curated(
        "pool",
        1,
        "digest",
        **uris,
        scores_uris=scores_uris,
        contamination_uri=None,
        screens_uri="",
        hashes_uri=None,
        near_uri=None,
    )
    return pairs.select(COLUMNS), open_sieves(config, curated)


def screened(pairs, sieves):
    """Reason by name of the pair, and rows in and out of each line of the funnel."""
    left_out, funnel = screen_pairs(pairs, sieves, **SHARD)
    names = list(IMAGES)
    reasons = {names[row["row"]]: row["reason"] for row in left_out.to_pylist()}
    return reasons, {record["stage"]: (record["rows_in"], record["rows_out"]) for record in funnel.to_records()}


def sha256(name):
    return f"sha256:{hashlib.sha256(IMAGES[name]).hexdigest()}"


def md5(name):
    return f"md5:{hashlib.md5(IMAGES[name], usedforsecurity=False).hexdigest()}"


def test_pair_is_counted_at_the_first_sieve_that_holds_it_back(pool, tmp_path):
    (tmp_path / "block.txt").write_text("a.example")
    (tmp_path / "out.txt").write_text("a.example\nb.example")
    reasons, lines = screened(*opened(tmp_path, block_lists=["block.txt"], opt_out_lists=["out.txt"]))
    assert reasons == {"a": "blocked_url", "b": "opted_out"}
    assert lines == {"block": (6, 5), "opt_out": (5, 4)}


def test_images_are_held_back_by_hash_and_those_that_can_not_be_read_for_that(pool, tmp_path):
    (tmp_path / "block.txt").write_text(f"a.example\n{sha256('b')}")
    (tmp_path / "out.txt").write_text(md5("c"))
    reasons, lines = screened(*opened(tmp_path, block_lists=["block.txt"], opt_out_lists=["out.txt"]))
    assert reasons == {"a": "blocked_url", "b": "blocked_image", "c": "opted_out", "d": "no_image"}
    assert lines == {"block": (6, 3), "opt_out": (3, 2)}


def test_images_are_not_read_for_lists_without_hashes_of_them(pool, tmp_path):
    for name in "abcef":
        (pool / name).unlink()
    (tmp_path / "block.txt").write_text("a.example")
    assert screened(*opened(tmp_path, block_lists=["block.txt"]))[0] == {"a": "blocked_url"}


def test_images_are_read_once_for_both_lists(pool, tmp_path):
    (tmp_path / "block.txt").write_text(f"{sha256('a')}\nc.example")
    (tmp_path / "out.txt").write_text(sha256("b"))
    pairs, sieves = opened(tmp_path, block_lists=["block.txt"], opt_out_lists=["out.txt"])
    first = sieves[0].judge(pairs, **SHARD)
    shutil.rmtree(pool)
    second = sieves[1].judge(pairs.filter(first.is_null()), **SHARD)
    assert first.to_pylist() == ["blocked_image", None, "blocked_url", "no_image", None, None]
    assert second.to_pylist() == ["opted_out", None, None]


def test_scores_hold_back_by_their_row_and_a_pair_without_one_goes(pool, tmp_path):
    rows, scores = [5, 4, 3, 2, 1, 0], [0.6, 0.5, 0.4, None, 0.9, 0.1]
    folder = str(tmp_path / "scores")
    table = pa.table({"row": pa.array(rows, pa.int32()), "score": pa.array(scores, pa.float32())})
    storage.write_table(storage.shard_file(folder, 0), table)
    classifiers = [{"name": "nsfw", "drop_above": 0.5}]
    reasons, lines = screened(*opened(tmp_path, scores_uris=(folder,), classifiers=classifiers))
    assert reasons == {"b": "score_above", "c": "unscored", "f": "score_above"}
    assert lines == {"classify nsfw": (6, 3)}


def test_scores_of_other_rows_are_an_error_of_the_program(pool, tmp_path):
    folder = str(tmp_path / "scores")
    table = pa.table({"row": pa.array([0, 1], pa.int32()), "score": pa.array([0.1, 0.2], pa.float32())})
    storage.write_table(storage.shard_file(folder, 0), table)
    classifiers = [{"name": "nsfw", "drop_above": 0.5}]
    with pytest.raises(RuntimeError, match="no scores for 4 pairs"):
        screened(*opened(tmp_path, scores_uris=(folder,), classifiers=classifiers))


def test_shard_without_pairs_has_its_lines_all_the_same(pool, tmp_path):
    (tmp_path / "block.txt").write_text(f"a.example\n{sha256('b')}\nhttp://a.example/")
    (tmp_path / "out.txt").write_text("f" * 24)
    pairs, sieves = opened(tmp_path, block_lists=["block.txt"], opt_out_lists=["out.txt"])
    assert screened(pairs.slice(0, 0), sieves) == ({}, {"block": (0, 0), "opt_out": (0, 0)})
