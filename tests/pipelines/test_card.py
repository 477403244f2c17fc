"""The card of a curated pool before any training: its page, its data, and MLflow's record of it."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from metaclip_core.counting import Measure
from metaclip_core.records import DropReason
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.errors import UserError
from pipelines.metadata import import_metadata
from pipelines.report import report

pytestmark = pytest.mark.ray


def quiet(*_):
    """No progress."""


@pytest.fixture(scope="module")
def curated(cluster, sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("card")
    (folder / "pool").mkdir()
    for shard in sorted(sample.glob("*.tar"))[:4]:
        (folder / "pool" / shard.name).symlink_to(shard)
    config = build_config(
        {
            "root": str(folder / "root"),
            "pool": {"name": "numbers", "uri": str(folder / "pool")},
            "metadata": {"name": "numbers"},
            "curation": {"p": 0.3},
            "tracking": {"state": str(folder / "mlflow")},
        }
    )
    import_metadata(str(sample / "metadata"), config)
    return config, curate(config, progress=quiet)


@pytest.fixture(scope="module")
def reports(curated):
    return report(curated[0], progress=quiet)


@pytest.fixture(scope="module")
def card(reports):
    return json.loads(Path(reports.card_uri).with_name("card.json").read_text())


def test_card_lies_under_the_name_of_the_pool_and_its_thresholds(curated, reports):
    config, result = curated
    version = result.curated.thresholds_uri.rpartition("/")[2]
    assert reports.card_uri == f"{config.root}/reports/numbers-{version}/index.html"
    assert reports.run_uri is None


def test_card_says_what_was_curated(curated, card):
    _, result = curated
    assert card["pairs"] == card["sampled_pairs"] == result.counts.total(Measure.PAIRS)
    assert card["funnel"] == result.funnel.to_records()
    assert card["expected"] == pytest.approx(sum(result.expected.values()))
    assert {language["language"]: language["t"] for language in card["languages"] if language["t"]} == (
        result.thresholds.t
    )
    assert card["provenance"]["thresholds"] == result.curated.thresholds_uri
    drawn = sum(language["drawn"] for language in card["languages"])
    assert drawn == pytest.approx(card["expected"], rel=0.2)


def test_card_names_entries_that_their_examples_mention(card):
    checked = 0
    for language in card["languages"]:
        for example in language["examples"]:
            for mention in example["mentions"]:
                letters = [letter for letter in mention["entry"] if letter.isalnum()]
                assert all(letter in example["pair"]["text"] for letter in letters)
                checked += 1
    assert checked > 30


def test_page_shows_pictures_and_the_reasons_of_those_that_are_broken(reports, card):
    page = Path(reports.card_uri).read_text()
    pictured = [language for language in card["languages"] if language["examples"]][:12]
    num_examples = sum(len(language["examples"]) for language in pictured)
    num_pictures = page.count('<img src="data:image/jpeg;base64,')
    assert num_pictures > 40
    assert num_pictures + page.count('<div class="missing">') == num_examples
    reasons = {example["pair"]["reason"] for language in pictured for example in language["examples"]}
    assert reasons >= {None, DropReason.NOT_DRAWN}


def test_record_holds_the_pool_as_a_data_set_with_its_digest_once(curated, reports):
    config, result = curated
    files = {path.name: path.read_bytes() for path in Path(reports.card_uri).parent.iterdir()}
    again = report(config, progress=quiet)
    assert again == reports
    assert {path.name: path.read_bytes() for path in Path(reports.card_uri).parent.iterdir()} == files
    client = MlflowClient(f"sqlite:///{Path(config.tracking.state) / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    [run] = client.search_runs([experiment.experiment_id])
    [logged] = run.inputs.dataset_inputs
    assert (logged.dataset.name, logged.dataset.digest) == ("numbers", result.curated.version)
    assert json.loads(logged.dataset.source) == {"uri": result.curated.thresholds_uri}
    assert json.loads(logged.dataset.profile)["pairs"] == result.counts.total(Measure.PAIRS)
    assert run.info.status == "FINISHED"
    assert {file.path for file in client.list_artifacts(run.info.run_id, "card")} == {
        "card/card.json",
        "card/index.html",
    }


def test_card_of_a_pool_that_is_not_curated_with_this_configuration_is_refused(curated):
    config, _ = curated
    other = config.model_copy(update={"curation": config.curation.model_copy(update={"p": 0.11})})
    with pytest.raises(UserError, match="metaclip curate"):
        report(other, progress=quiet)
