"""`metaclip thresholds` of a curated pool: what a person reads, and what a program does."""

import json

import pytest
from typer.testing import CliRunner

from pipelines.curate import curate
from pipelines.metadata import import_metadata
from ray_jobs.cli import app

pytestmark = pytest.mark.ray


@pytest.fixture
def curated(cluster, sample, make_config, tmp_path):
    """A recipe whose pool is curated, with p = 0.3."""
    config = make_config()
    import_metadata(str(sample / "metadata"), config)
    curate(config, progress=lambda *_: None)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    return recipe


def test_thresholds_are_told_to_a_person_and_to_a_program(curated, caplog):
    def thresholds(*arguments):
        done = CliRunner().invoke(app, ["thresholds", "--recipe", str(curated), *arguments])
        assert done.exit_code == 0, done.output
        return done.stdout.splitlines()

    lines = thresholds("--p", "0.02,0.3", "--json")
    assert [line.strip() for line in lines if line.strip().startswith("p = ")] == ["p = 0.02", "p = 0.3"]
    assert sum(line.startswith("│ en ") for line in lines) == 2
    assert any(" more " in line for line in lines)
    content = json.loads(lines[-1])
    assert set(content) == {"sample_uri", "confidence", "dials"}
    less, more = content["dials"]
    assert (less["p"], less["t_en"], more["p"]) == (0.02, None, 0.3)
    assert less["languages"]["en"]["t"] < more["languages"]["en"]["t"]
    assert less["total"]["matches"] == more["total"]["matches"]
    assert less["total"]["pairs"]["mean"] < more["total"]["pairs"]["mean"]
    assert 0 < less["english_share"] < 1

    everyone = thresholds("--all")
    assert any(line.strip() == "p = 0.3" for line in everyone)  # what the recipe says
    shown = [line.split()[1] for line in everyone if line.startswith("│") and "all" not in line.split()[1]]
    assert set(more["languages"]) <= set(shown)
    assert not any(" more " in line for line in everyone)

    english = json.loads(thresholds("--t-en", "5,1000000", "--json")[-1])["dials"]
    assert [(dial["t_en"], dial["languages"]["en"]["t"]) for dial in english] == [(5, 5), (1_000_000, 1_000_000)]
    assert english[1]["p"] == 1
    assert "nothing is balanced" in caplog.text
