import numpy as np
import pytest

from pipelines import storage
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.draw import held_out_of, open_drawing
from pipelines.errors import UserError
from pipelines.held_out import write_held_out
from pipelines.manifest import load_manifest
from pipelines.metadata import import_metadata
from pipelines.selection import read_unique

pytestmark = pytest.mark.ray

ROWS = 24


@pytest.fixture(scope="module")
def pool(cluster, sample, tmp_path_factory):
    recipe = {
        "root": str(tmp_path_factory.mktemp("draw")),
        "pool": {"name": "numbers", "uri": str(sample)},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3},
    }
    config = build_config(recipe)
    import_metadata(str(sample / "metadata"), config)
    return recipe, curate(config, progress=lambda *_: None).curated


def config_of(pool, *overrides):
    return build_config(pool[0], overrides=overrides)


def drawn(pool, config, epoch):
    """(shard, row) of what an epoch trains on."""
    drawing = open_drawing(config, pool[1])
    return {
        (shard, row)
        for shard in range(pool[1].num_shards)
        for row in drawing.train(read_unique(pool[1], shard), epoch=epoch).rows["row"].to_pylist()
    }


def held_out(pool, config):
    drawing = open_drawing(config, pool[1])
    return {
        (shard, row)
        for shard in range(pool[1].num_shards)
        for row in drawing.hold_out(read_unique(pool[1], shard)).rows["row"].to_pylist()
    }


def test_what_is_held_out_is_never_trained_on_and_nothing_else_is_missing(pool):
    plain, holding = config_of(pool), config_of(pool, f"training.validation_rows={ROWS}")
    away = held_out(pool, holding)
    for epoch in range(5):
        everything = drawn(pool, plain, epoch)
        assert not away & drawn(pool, holding, epoch)
        kept = drawn(pool, holding, epoch)
        assert kept <= everything
        of_other_shards = {
            (shard, row) for shard, row in everything if shard not in held_out_of(holding, pool[1]).shards
        }
        assert of_other_shards <= kept
        if epoch == 0:
            assert everything - kept == away


def test_about_as_many_are_held_out_as_asked_for(pool):
    numbers = [
        len(held_out(pool, config_of(pool, f"training.validation_rows={ROWS}", f"seed={seed}"))) for seed in range(20)
    ]
    assert ROWS * 0.6 < np.mean(numbers) < ROWS * 1.6
    assert not held_out(pool, config_of(pool))


def test_holding_out_more_than_a_tenth_is_refused(pool):
    with pytest.raises(UserError, match="more than a tenth"):
        open_drawing(config_of(pool, "training.validation_rows=10000"), pool[1])


def test_pairs_held_out_are_stored_with_images_and_captions(pool, tmp_path):
    config = config_of(pool, f"training.validation_rows={ROWS}")
    uri = str(tmp_path / "held_out.parquet")
    number = write_held_out(config, pool[1], load_manifest(config), uri=uri)
    stored = storage.read_table(uri)
    assert number == stored.num_rows > 0
    found = set(zip(stored["shard"].to_pylist(), stored["row"].to_pylist(), strict=True))
    assert found <= held_out(pool, config)  # but for images that fail
    assert all(stored["image"].to_pylist())
    assert all(stored["caption"].to_pylist())
