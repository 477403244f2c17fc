"""Golden recipes: what a change does to every run stands in the diff of these files."""

import json
import os
from pathlib import Path

import pytest

from pipelines.config import build_config
from ray_jobs import recipes

GOLDEN = Path(__file__).with_name("golden")


@pytest.mark.parametrize("name", recipes.names())
def test_recipe_has_the_configuration_that_was_agreed(name):
    config = build_config(recipes.read(name)).model_dump(mode="json")
    golden = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(json.dumps(config, indent=1) + "\n")
    assert config == json.loads(golden.read_text())
