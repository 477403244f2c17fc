"""The draw through Ray: the same rows however the stream is read."""

import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray

from metaclip_core.ledger import Ledger
from metaclip_core.positions import Positions
from metaclip_core.records import DropReason
from metaclip_core.sampling import draw
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.feed import apply_feed
from pipelines.selection import read_unique
from pipelines.thresholds import load_tables
from pipelines.window import window_of
from tests.pipelines.layouts import LAYOUTS, rewrite, write_by_path

pytestmark = pytest.mark.ray

NUM_SHARDS = 12
KEY = ["epoch", "shard", "row", "caption", "language"]


def read_window(curated, ledger, *overrides, run_name):
    """All rows of the first window that starts from `ledger`."""
    recipe, where = curated
    config = build_config(recipe, overrides=overrides)
    window = window_of(run_name)  # lives as long as its creator holds it
    ray.get(window.start.remote(ledger.to_table()))
    return pa.concat_tables(apply_feed(config, where, run_name=run_name).iter_batches(batch_format="pyarrow"))


def rows_of(table, columns=KEY):
    kept = table.filter(pc.is_null(table["drop_reason"])).select(columns)
    return sorted(tuple(row.values()) for row in kept.to_pylist())


def expected_rows(where, positions, order, *, seed):
    """The draw in a plain loop."""
    tables = load_tables(where)
    rows = []
    for epoch, shard in zip(*order.locate(positions), strict=True):
        annotated = read_unique(where, int(shard))
        drawn = draw(annotated, tables, epoch=int(epoch), seed=seed)
        numbers = annotated["row"].take(pa.array(drawn.row)).to_pylist()
        languages, captions = drawn.language.to_pylist(), drawn.caption.to_pylist()
        rows += [(epoch, shard, *rest) for rest in zip(numbers, captions, languages, strict=True)]
    return sorted(rows)


@pytest.mark.parametrize("interleaved", [1, 5])
def test_feed_draws_the_same_rows_however_it_is_read(curated, interleaved):
    order = Positions(NUM_SHARDS, 0)
    overrides = ["feed.window_positions=30", f"feed.interleaved_shards={interleaved}", "compute.feed_actors=2"]
    table = read_window(curated, Ledger(order), *overrides, run_name=f"feed-{interleaved}")
    expected = expected_rows(curated[1], np.arange(30), order, seed=0)
    assert len(expected) > 300
    assert rows_of(table) == expected


def test_feed_images_are_those_of_the_pairs(curated, sample):
    order = Positions(NUM_SHARDS, 0)
    table = read_window(curated, Ledger(order), "feed.window_positions=12", run_name="feed-images")
    rows = table.filter(pc.is_null(table["drop_reason"])).to_pylist()
    truth = {(row["shard"], row["row"]): row["key"] for row in pq.read_table(sample / "truth.parquet").to_pylist()}
    shards = sorted(sample.glob("*.tar"))
    images = {}
    for path in shards:
        with tarfile.open(path) as archive:
            for member in archive:
                if not member.name.endswith(".json"):
                    images[path.name, member.name.rpartition(".")[0]] = archive.extractfile(member).read()
    assert len(rows) > 100
    for row in rows:
        name = shards[row["shard"]].name
        assert row["image"] == images[name, truth[name, row["row"]]]


def test_feed_closes_every_item_with_what_it_drew(curated):
    order = Positions(NUM_SHARDS, 0)
    table = read_window(curated, Ledger(order), "feed.window_positions=20", run_name="feed-close")
    ends = table.filter(pc.equal(table["drop_reason"], DropReason.ITEM_END.value)).to_pylist()
    drawn = {}
    for epoch, shard, *_ in rows_of(table):
        drawn[epoch, shard] = drawn.get((epoch, shard), 0) + 1
    assert {(end["epoch"], end["shard"]): end["drawn_in_item"] for end in ends} == drawn
    assert len(ends) == 20


def test_feed_that_resumes_skips_what_has_ended_and_nothing_else(curated):
    order = Positions(NUM_SHARDS, 0)
    first = read_window(curated, Ledger(order), "feed.window_positions=12", run_name="feed-first")
    rows = rows_of(first, ["epoch", "shard", "row"])
    generator = np.random.default_rng(0)
    consumed = [row for row in rows if generator.random() < 0.6]
    ledger = Ledger(order)
    ledger.consume(*np.array(consumed).T)
    resumed = read_window(curated, ledger, "feed.window_positions=12", run_name="feed-resumed")
    assert rows_of(resumed, ["epoch", "shard", "row"]) == sorted(set(rows) - set(consumed))
    assert set(resumed["ledger_id"].to_pylist()) == {ledger.digest()}


def test_feed_of_another_epoch_draws_a_fresh_sample(curated):
    order = Positions(NUM_SHARDS, 0)
    table = read_window(curated, Ledger(order), "feed.window_positions=24", run_name="feed-epochs")
    by_epoch = [{row[1:3] for row in rows_of(table) if row[0] == epoch} for epoch in (0, 1)]
    assert by_epoch[0] != by_epoch[1]
    assert by_epoch[0] & by_epoch[1]


def test_feed_draws_the_same_pairs_from_every_layout(curated, sample, tmp_path):
    recipe, _ = curated
    read = {}
    for layout in ("tar", "inline", "by path"):
        write, options = LAYOUTS[layout]
        folder = tmp_path / layout
        folder.mkdir()
        rewrite(build_config(recipe), folder, write)
        other = {**recipe, "pool": {"name": layout, "uri": str(folder), **options}}
        result = curate(build_config(other), progress=lambda *_: None)
        assert result.funnel.dropped["deduplicate", "duplicate"] > 10
        order = Positions(result.curated.num_shards, 0)
        table = read_window(
            (other, result.curated), Ledger(order), "feed.window_positions=8", run_name=f"feed-{layout}"
        )
        read[layout] = rows_of(table, ["pair_id", "image", *KEY])
    assert len(read["tar"]) > 100
    assert read["inline"] == read["by path"] == read["tar"]


def test_feed_closes_an_item_whose_images_are_missing(curated, tmp_path):
    recipe, _ = curated
    rewrite(build_config(recipe), tmp_path, write_by_path)
    for path in sorted((tmp_path / "images").iterdir())[::2]:
        path.unlink()
    other = {**recipe, "pool": {"name": "holes", "uri": str(tmp_path), **LAYOUTS["by path"][1]}}
    where = curate(build_config(other), progress=lambda *_: None).curated
    order = Positions(where.num_shards, 0)
    table = read_window((other, where), Ledger(order), "feed.window_positions=4", run_name="feed-holes")
    reasons = [row["drop_reason"] for row in table.to_pylist()]
    num_drawn = sum(row["drawn_in_item"] or 0 for row in table.to_pylist())
    assert reasons.count(None) > 10
    assert reasons.count(DropReason.NO_IMAGE) > 10
    assert reasons.count(DropReason.ITEM_END) == 4
    assert reasons.count(None) + reasons.count(DropReason.NO_IMAGE) == num_drawn
