"""What is made of a sweep's trials, on trials whose truth is known."""

import itertools
import json

import numpy as np
import pytest

from metaclip_core.shapes import SHAPES, Preset, flop_of_pair
from pipelines import storage
from pipelines.config import build_config
from pipelines.sweep_notes import Ending, Outcome
from pipelines.sweep_report import Study, ablation, ablation_json, ablation_plots, publish, scaling, scaling_plots
from pipelines.trials import trial_config

METRIC = "eval/numbers-10/en/top1"
ARMS = {"English only": {"metadata.languages": ["en"]}, "worldwide": {}}
PAIRS = [16_000, 32_000, 64_000, 128_000, 256_000, 512_000]
ENGLISH_SHARE = 0.4  # of the worldwide draw
FLOORS = {"English only": 0.20, "worldwide": 0.12}
SIZES = {"English only": 0.30, "worldwide": 0.40}
SLOPE, MIDDLE = 0.6, 60_000.0
MODELS = [Preset.MINI, Preset.TINY]


def error(arm, preset, english_pairs):
    """The truth: worldwide loses on few English pairs and wins on many, and a larger model wins always."""
    smaller = 0.05 * (flop_of_pair(SHAPES[preset]) / flop_of_pair(SHAPES[Preset.MINI])) ** -0.8
    return FLOORS[arm] + smaller + SIZES[arm] * (english_pairs / MIDDLE) ** -SLOPE


def true_crossing():
    """English pairs at which the two arms err alike."""
    return MIDDLE * ((SIZES["worldwide"] - SIZES["English only"]) / (FLOORS["English only"] - FLOORS["worldwide"])) ** (
        1 / SLOPE
    )


def config_of(**sweep):
    settings = {"arms": ARMS, "dials": {"seed": [0, 1]}, "metric": METRIC, "best_is": "max", **sweep}
    return build_config({"recipe": "study", "curation": {"p": 0.1}, "sweep": settings})


def outcome(number, point, value, *, seen=1000, ending=Ending.FINISHED):
    return Outcome(number, point, f"run-{number}", ending, {METRIC: value}, seen, [])


def studies(config, *, noise=0.0, arms=tuple(ARMS)):
    rng = np.random.default_rng(0)
    found = []
    for number, (arm, preset, pairs) in enumerate(itertools.product(arms, MODELS, PAIRS)):
        share = ENGLISH_SHARE if arm == "worldwide" else 1.0
        point = {"arm": arm, "model.preset": preset.value}
        value = 1 - error(arm, preset, share * pairs) + rng.normal(0, noise)
        found.append(Study(outcome(number, point, value, seen=pairs), trial_config(config, point), share))
    return found


def test_laws_and_the_crossing_are_the_true_ones():
    config = config_of(compute_budget_flop=1e14)
    told = scaling(config, studies(config, noise=1e-4))
    assert [(law["group"], law["trainings"]) for law in told["laws"]] == [("english", 12), ("worldwide", 12)]
    for law, arm in zip(told["laws"], FLOORS, strict=True):
        beta = law["parameters"]["beta"]
        assert beta["interval"][0] < SLOPE < beta["interval"][1]
        assert beta["value"] == pytest.approx(SLOPE, rel=0.05), arm
    crossings = told["worldwide_stops_costing_english"]
    assert [one["model"] for one in crossings] == [preset.value for preset in MODELS]
    for one in crossings:
        assert one["english_pairs"]["value"] == pytest.approx(true_crossing(), rel=0.1)
        low, high = one["english_pairs"]["interval"]
        assert low < true_crossing() < high


def test_recommended_is_what_errs_least_for_the_compute():
    budget = 1e14
    config = config_of(compute_budget_flop=budget)
    told = scaling(config, studies(config, noise=1e-4))["recommendation"]
    expected = {
        preset.value: error("worldwide", preset, ENGLISH_SHARE * budget / flop_of_pair(SHAPES[preset]))
        for preset in MODELS
    }
    assert [one["model"] for one in told["best_first"]] == sorted(expected, key=expected.get)
    for one in told["best_first"]:
        assert one["error"]["value"] == pytest.approx(expected[one["model"]], abs=0.01)
        assert one["dial"] == "p = 0.1"


def test_what_trials_do_not_tell_is_said_to_be_unknown():
    config = config_of()
    few = [study for study in studies(config) if study.outcome.samples_seen <= PAIRS[1]]
    told = scaling(config, few)
    assert (told["laws"], told["worldwide_stops_costing_english"], told["recommendation"]) == ([], [], None)
    noisy = scaling(config, studies(config, noise=0.2))
    for one in noisy["worldwide_stops_costing_english"]:
        assert one["english_pairs"] == "none in reach" or one["english_pairs"]["interval"] == "not identifiable"


def test_worldwide_that_always_costs_english_is_said_to(monkeypatch):
    monkeypatch.setitem(FLOORS, "worldwide", 0.35)
    config = config_of()
    told = scaling(config, studies(config, noise=1e-4))["worldwide_stops_costing_english"]
    assert {one["english_pairs"] for one in told} == {"none in reach"}


def test_worldwide_that_never_costs_english_is_said_to(monkeypatch):
    monkeypatch.setitem(SIZES, "worldwide", 0.25)
    config = config_of()
    told = scaling(config, studies(config, noise=1e-4))["worldwide_stops_costing_english"]
    for one in told:
        assert one["fewest_tried"] == ENGLISH_SHARE * PAIRS[0]
        assert one["english_pairs"]["value"] == pytest.approx(one["fewest_tried"])


def test_ablation_has_the_mean_of_each_arm_with_its_interval():
    config = config_of(analysis="ablation")
    values = {"English only": [0.5, 0.6, 0.7], "worldwide": [0.4]}
    numbers = itertools.count()
    ended = [
        outcome(next(numbers), {"arm": arm, "seed": seed}, value)
        for arm, of_arm in values.items()
        for seed, value in enumerate(of_arm)
    ]
    stopped = outcome(9, {"arm": "worldwide", "seed": 1}, 0.9, ending=Ending.STOPPED)
    table = ablation(config, [*ended, stopped])
    content = json.loads(json.dumps(ablation_json(table)))
    assert content["English only"][METRIC]["value"] == pytest.approx(0.6)
    assert content["English only"][METRIC]["low"] < 0.5  # of three values, by Student's t
    assert content["English only"][METRIC]["high"] > 0.7
    assert content["worldwide"][METRIC] == {"value": 0.4, "low": None, "high": None, "number": 1}
    [(name, svg)] = ablation_plots(table).items()
    assert name == "eval-numbers-10-en-top1.svg"
    assert "English only" in svg


class Kept:
    """A record that keeps what it is given."""

    def log_folder(self, folder, name):
        self.files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        self.name = name


def test_result_and_plots_lie_in_the_sweeps_folder_and_in_its_record(tmp_path):
    config, record = config_of(), Kept()
    plots = scaling_plots(config, studies(config))
    publish(str(tmp_path / "sweep"), record, {"name": "sweep"}, plots)
    assert storage.read_json(str(tmp_path / "sweep" / "result.json")) == {"name": "sweep"}
    [svg] = (tmp_path / "sweep" / "plots").iterdir()
    for curve in ("english, mini", "worldwide, tiny"):
        assert curve in svg.read_text()
    assert (record.name, record.files) == ("sweep", {"result.json", f"plots/{svg.name}"})
