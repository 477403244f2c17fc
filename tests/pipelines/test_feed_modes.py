"""Two feeds, the same drawn pairs: stored annotations and ranges, or whole shards annotated anew."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from metaclip_core.ledger import Ledger
from metaclip_core.positions import Positions
from metaclip_core.records import DropReason
from pipelines import feed, feed_raw
from pipelines.annotate import read_annotations
from pipelines.checkpoint import load_ledger
from pipelines.cluster import check_cpus
from pipelines.config import build_config
from pipelines.config.compute import ComputeConfig
from pipelines.curate import curate
from pipelines.deduplicate import read_duplicates
from pipelines.errors import UserError
from pipelines.manifest import load_manifest
from pipelines.metadata import import_metadata
from pipelines.runs import run_name
from pipelines.training import train
from pipelines.window import window_of
from tests.pipelines.layouts import LAYOUTS, rewrite

pytestmark = pytest.mark.ray

FEED = {"window_positions": 12, "interleaved_shards": 5, "chunk_rows": 4}
UNSURE = {"joint_captions": "unsure", "min_language_score": 0.6}


@pytest.fixture(scope="module")
def root(sample, tmp_path_factory):
    """A root with the sample's metadata."""
    path = str(tmp_path_factory.mktemp("modes"))
    import_metadata(str(sample / "metadata"), build_config({"root": path, "metadata": {"name": "numbers"}}))
    return path


def recipe_of(root, pool, **curation):
    return {
        "root": root,
        "pool": {"name": "pool", **pool},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3, "max_dropped": {}, **curation},
        "feed": FEED,
    }


def curated(recipe):
    return recipe, curate(build_config(recipe), progress=lambda *_: None).curated


@pytest.fixture(scope="module")
def numbers(cluster, sample, root):
    """The sample pool."""
    return curated(recipe_of(root, {"uri": str(sample)}))


def overwrite(path, start, stop):
    data = bytearray(path.read_bytes())
    data[start:stop] = b"\xff" * (stop - start)
    path.write_bytes(data)


def column_of(path, group, name):
    """Where the pages of a column lie in a parquet file."""
    row_group = pq.ParquetFile(path).metadata.row_group(group)
    chunks = [row_group.column(index) for index in range(row_group.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.startswith(name))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def damage(folder):
    """What the web does to a pool: headers, row groups and ends that are broken, files that are gone."""
    for path in sorted(folder.glob("*.tar*"))[-1:]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for path in sorted(folder.glob("*.tar"))[:1]:
        at = path.read_bytes().index(b"000007.jpg")
        overwrite(path, at + 30, at + 60)
    for path in sorted(folder.glob("*.parquet"))[:1]:
        if "jpg" in pq.read_schema(path).names:
            overwrite(path, *column_of(path, 1, "jpg"))
            overwrite(path, *column_of(path, 3, "texts"))
    for path in sorted(folder.glob("images/*"))[::5]:
        path.unlink()


@pytest.fixture(scope="module", params=["numbers", "unsure", *LAYOUTS])
def pool(request, numbers, root, tmp_path_factory):
    """A recipe and where its curation lies: the sample, or some of it in another layout, damaged."""
    recipe, where = numbers
    if request.param == "numbers":
        return recipe, where
    if request.param == "unsure":
        other = curated({**recipe, "curation": {**recipe["curation"], **UNSURE}})
        assert some_captions_were_named_jointly(other[1])
        return other
    folder = tmp_path_factory.mktemp("pool")
    write, options = LAYOUTS[request.param]
    rewrite(build_config(recipe), folder, write)
    damage(folder)
    return curated(recipe_of(root, {"name": request.param, "uri": str(folder), "max_image_bytes": 6_000, **options}))


def some_captions_were_named_jointly(where):
    """Whether different captions of an image were given one language and one score."""
    pairs = pa.concat_tables(read_annotations(where.annotations_uri, shard) for shard in range(where.num_shards))
    return any(
        len({caption["text"] for caption in pair["captions"]}) > 1
        and len({(caption["language"], caption["language_score"]) for caption in pair["captions"]}) == 1
        for pair in pairs.to_pylist()
    )


def reader_of(pool, mode):
    """The recipe's reader of a pool's items, ready to read."""
    recipe, where = pool
    return feed.reader_of(build_config(recipe, overrides=[f"feed.mode={mode}"]), where)()


def ledger_of(where, ended=()):
    ledger = Ledger(Positions(where.num_shards, 0))
    if len(ended):
        ledger.consume(*np.array(ended).T)
    return ledger


def chunks(pool, reader, ledger):
    """What the feed's actor gives for two epochs, called as Ray calls it."""
    recipe, where = pool
    window = window_of("modes")
    ray.get(window.start.remote(ledger.to_table()))
    actor = feed.Feed(build_config(recipe), where, lambda: reader, run_name="modes")
    return [chunk.to_pylist() for chunk in actor(pa.table({"id": np.arange(2 * where.num_shards)}))]


TOMBSTONES = {
    "inline": {DropReason.IMAGE_BROKEN, DropReason.IMAGE_BYTES_OVER_LIMIT},
    "by path": {DropReason.NO_IMAGE, DropReason.IMAGE_BYTES_OVER_LIMIT},
}


def test_both_modes_give_the_same_chunks_in_the_same_order(pool, request, monkeypatch):
    monkeypatch.setattr(feed_raw, "_BATCH_BYTES", 20_000)  # some images: several batches a shard
    assert sum(len(read_duplicates(pool[1], shard)) for shard in range(pool[1].num_shards)) > 2
    annotated, raw = reader_of(pool, "annotated"), reader_of(pool, "raw")
    fresh = ledger_of(pool[1])
    expected = chunks(pool, annotated, fresh)
    rows = [row for chunk in expected for row in chunk if row["drop_reason"] != DropReason.ITEM_END]
    assert len(rows) > 50
    layout = request.node.callspec.params["pool"]
    assert {row["drop_reason"] for row in rows} == TOMBSTONES.get(layout, set()) | {None}
    assert chunks(pool, raw, fresh) == expected
    keys = [(row["epoch"], row["shard"], row["row"]) for row in rows]
    resumed = ledger_of(pool[1], [key for key in keys if key[2] % 2])
    expected = chunks(pool, annotated, resumed)
    assert 0 < sum(map(len, expected)) - 2 * pool[1].num_shards < len(rows)
    assert chunks(pool, raw, resumed) == expected


def window_of_mode(pool, *overrides, run):
    """All rows of the first window, through Ray, in the order of their rows."""
    recipe, where = pool
    config = build_config(recipe, overrides=overrides)
    window = window_of(run)  # lives as long as its creator holds it
    ray.get(window.start.remote(ledger_of(where).to_table()))
    table = pa.concat_tables(feed.apply_feed(config, where, run_name=run).iter_batches(batch_format="pyarrow"))
    return table.sort_by([(name, "ascending") for name in ("epoch", "shard", "row")]).to_pylist()


def test_raw_feed_with_threads_gives_the_same_rows_through_ray_and_reads_no_stored_annotation(numbers, tmp_path):
    where = numbers[1]
    expected = window_of_mode(numbers, run="modes-annotated")
    assert len(expected) > 100
    annotations = Path(where.annotations_uri)
    aside = annotations.rename(tmp_path / "annotations")
    try:
        overrides = ["feed.mode=raw", "compute.matcher_threads=2", "compute.matcher_engine=hash_trie"]
        assert window_of_mode(numbers, *overrides, run="modes-raw") == expected
    finally:
        aside.rename(annotations)


def test_raw_feed_on_a_node_with_another_identifier_is_refused(numbers):
    recipe, where = numbers
    with pytest.raises(UserError, match="on this node, and another one where the job was started"):
        feed_raw.RawItems(build_config(recipe), where, identifier_version="another one")


def test_run_has_the_same_name_in_both_modes(numbers):
    recipe, where = numbers
    names = {
        run_name(build_config(recipe, overrides=[override]), where)
        for override in ("feed.mode=raw", "feed.mode=annotated", "feed.chunk_rows=5")
    }
    assert len(names) == 2


def test_cpus_of_a_raw_feed_are_those_of_its_matchers(cluster):
    compute = ComputeConfig(num_workers=1, feed_actors=2, matcher_threads=2)
    config = build_config({"feed": {"mode": "raw"}, "compute": compute.model_dump()})
    check_cpus(compute, feed_cpus=1, validation_cpus=0)
    with pytest.raises(UserError, match=r"2 feed × 2, 1 decode, 1 read\) = 7, and the cluster has 6"):
        check_cpus(compute, feed_cpus=feed.feed_cpus(config), validation_cpus=0)


def test_train_in_raw_mode_with_more_threads_than_a_node_has_cpus_is_refused(numbers):
    recipe, _ = numbers
    with pytest.raises(UserError, match="matcher_threads 64 needs as many CPUs"):
        train(build_config(recipe, overrides=["feed.mode=raw", "compute.matcher_threads=64"]), report=print)


def drawn_rows(pool, positions):
    """The rows that each of some positions draws, by the annotated feed's reader."""
    recipe, where = pool
    reader = reader_of(pool, "annotated")
    names = load_manifest(build_config(recipe)).table["name"].to_pylist()
    epochs, shards = Positions(where.num_shards, 0).locate(positions)
    items = zip(positions.tolist(), epochs.tolist(), shards.tolist(), strict=True)
    return {
        position: {
            (epoch, shard, row)
            for part in reader.read(names[shard], shard=shard, epoch=epoch)
            for row in part.table["row"].to_pylist()
        }
        for position, epoch, shard in items
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["raw", pytest.param("annotated", marks=pytest.mark.slow)])
def test_training_by_either_feed_ends_or_leaves_over_the_same_rows(numbers, tmp_path, mode):
    recipe, _ = numbers
    root = tmp_path / "root"
    shutil.copytree(recipe["root"], root)  # a run has the same name in both modes
    config = build_config(
        {
            **recipe,
            "root": str(root),
            "feed": {**FEED, "mode": mode, "window_positions": 8, "interleaved_shards": 4, "shuffle_rows": 32},
            "model": {"vocab_size": 600},
            "training": {"steps": 18, "global_batch_size": 16, "warmup_steps": 2},
            "tracking": {"state": str(tmp_path / "mlflow")},
            "compute": {"num_workers": 1, "timeout_s": 120},
        }
    )
    result = train(config, report=lambda _: None)
    ledger = load_ledger(Path(result.checkpoint_uri))
    drawn = drawn_rows(numbers, np.arange(8))
    table = pq.read_table(root / "runs" / result.run_name / "leftover.parquet")
    left = {tuple(row.values()) for row in table.to_pylist()}
    assert len(left) < min(map(len, drawn.values())), "every item of the window was to be begun"
    ended = {row for at, rows in drawn.items() for row in rows if ledger.has_ended(at, np.array([row[2]]))[0]}
    assert result.samples_seen + sum(result.failed.values()) == len(ended)
    assert not ended & left
    assert (ledger.frontier, ended | left) == (8, set.union(*drawn.values()))


def test_cpus_of_validation_and_of_labelled_nodes_are_counted(cluster):
    with pytest.raises(UserError, match=r"\+ 4 for validation = 8, and the cluster has 6"):
        check_cpus(ComputeConfig(num_workers=1), feed_cpus=1, validation_cpus=4)
    labelled = ComputeConfig(num_workers=1, data_selector={"pool": "nowhere"})
    with pytest.raises(UserError, match=r"the nodes labelled pool=nowhere have 0"):
        check_cpus(labelled, feed_cpus=1, validation_cpus=0)
