import numpy as np
import pytest

from pipelines import storage
from pipelines.config import build_config
from pipelines.draw import held_out_of, open_drawing
from pipelines.errors import UserError
from pipelines.held_out import write_held_out
from pipelines.manifest import load_manifest
from pipelines.selection import read_unique

pytestmark = pytest.mark.ray

ROWS = 24


def config_of(curated, *overrides):
    return build_config(curated[0], overrides=overrides)


def drawn(curated, config, epoch):
    """(shard, row) of what an epoch trains on."""
    drawing = open_drawing(config, curated[1])
    return {
        (shard, row)
        for shard in range(curated[1].num_shards)
        for row in drawing.train(read_unique(curated[1], shard), epoch=epoch).rows["row"].to_pylist()
    }


def held_out(curated, config):
    drawing = open_drawing(config, curated[1])
    return {
        (shard, row)
        for shard in range(curated[1].num_shards)
        for row in drawing.hold_out(read_unique(curated[1], shard)).rows["row"].to_pylist()
    }


def test_what_is_held_out_is_never_trained_on_and_nothing_else_is_missing(curated):
    plain, holding = config_of(curated), config_of(curated, f"training.validation_rows={ROWS}")
    away = held_out(curated, holding)
    for epoch in range(5):
        everything = drawn(curated, plain, epoch)
        assert not away & drawn(curated, holding, epoch)
        kept = drawn(curated, holding, epoch)
        assert kept <= everything
        shards = held_out_of(holding, curated[1]).shards
        of_other_shards = {(shard, row) for shard, row in everything if shard not in shards}
        assert of_other_shards <= kept
        if epoch == 0:
            assert everything - kept == away


def test_about_as_many_are_held_out_as_asked_for(curated):
    numbers = [
        len(held_out(curated, config_of(curated, f"training.validation_rows={ROWS}", f"seed={seed}")))
        for seed in range(20)
    ]
    assert ROWS * 0.6 < np.mean(numbers) < ROWS * 1.6
    assert not held_out(curated, config_of(curated))


def test_holding_out_more_than_a_tenth_is_refused(curated):
    with pytest.raises(UserError, match="more than a tenth"):
        open_drawing(config_of(curated, "training.validation_rows=10000"), curated[1])


def test_pairs_held_out_are_stored_with_images_and_captions(curated, tmp_path):
    config = config_of(curated, f"training.validation_rows={ROWS}")
    uri = str(tmp_path / "held_out.parquet")
    number = write_held_out(config, curated[1], load_manifest(config), uri=uri)
    stored = storage.read_table(uri)
    assert number == stored.num_rows > 0
    found = set(zip(stored["shard"].to_pylist(), stored["row"].to_pylist(), strict=True))
    assert found <= held_out(curated, config)  # but for images that fail
    assert all(stored["image"].to_pylist())
    assert all(stored["caption"].to_pylist())
