import pytest

from pipelines.config import build_config
from pipelines.sweep import SweepResult
from pipelines.sweep_notes import Ending, Outcome
from ray_jobs.sweep import show

METRIC = "eval/numbers-10/en/top1"
CONFIG = build_config({"recipe": "study", "sweep": {"dials": {"seed": [0, 1]}, "metric": METRIC, "best_is": "max"}})


def shown(capsys, monkeypatch, *, number=2, problems=None, **analysis):
    monkeypatch.setenv("COLUMNS", "140")
    outcomes = [
        Outcome(trial, {"seed": trial}, f"run-{trial}", Ending.FINISHED, {METRIC: trial / 100}, 1_000, [])
        for trial in range(number)
    ]
    show(SweepResult("study", "/r/sweeps/study", "f00d", outcomes, problems or {}, outcomes[-1], analysis), CONFIG)
    return capsys.readouterr().out


def law(**parameters):
    told = {name: {"value": value, "interval": interval} for name, (value, interval) in parameters.items()}
    return {"metric": METRIC, "group": "worldwide", "dial": "p = 0.1", "trainings": 8, "parameters": told}


def crossing(pairs):
    return {"metric": METRIC, "dial": "p = 0.1", "model": "mini", "fewest_tried": 7_000.0, "english_pairs": pairs}


def test_the_best_come_first_and_those_left_out_are_counted(capsys, monkeypatch):
    told = shown(capsys, monkeypatch, number=32, problems={32: "the store is full"})
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in told.splitlines() if line.startswith("│")]
    assert rows == [*([str(trial)] * 2 for trial in range(31, 11, -1)), ["…", "12 more"]]
    assert "trial 32 failed: the store is full" in told
    assert "more" not in shown(capsys, monkeypatch, number=20)


def test_a_study_tells_its_law_where_worldwide_costs_nothing_and_what_to_take(capsys, monkeypatch):
    best = {"model": "mini", "dial": "p = 0.1", "seen_pairs": 2_000_000, "times_the_largest_training": 15.6}
    study = {
        "laws": [law(floor=(0.0, [0.0, 0.7]), beta=(0.2, "not identifiable"), c=(0.01, [-0.02, 0.03]))],
        "worldwide_stops_costing_english": [
            crossing({"value": 7_000.0, "interval": [7_000.0, 12_345.6]}),
            crossing({"value": 50_000.0, "interval": "not identifiable"}),
            crossing("none in reach"),
        ],
        "recommendation": {
            "compute_flop": 5e13,
            "best_first": [best | {"error": {"value": 0.5, "interval": [0.25, 0.75]}}],
        },
    }
    told = shown(capsys, monkeypatch, scaling=study)
    assert "error = floor + b (D/D0)^-beta - c ln(N/N0), 95 % intervals" in told
    where = "worldwide stops costing English (eval/numbers-10/en/top1, mini, p = 0.1): "
    assert f"{where}already with the fewest tried, 7,000 English pairs, [7,000, 12,346]" in told
    assert f"{where}50,000 English pairs, not identifiable" in told
    assert f"{where}none in reach" in told
    assert (
        "recommended for 5e+13 FLOP: mini, p = 0.1, 2,000,000 pairs: error 0.500, [0.25, 0.75]; 15.6 × the largest "
        "training" in told
    )


@pytest.mark.parametrize(
    ("parameters", "formula"),
    [
        ({"b": (0.1, [0.05, 0.2])}, "error = floor + b (D/D0)^-beta, 95 % intervals"),
        ({"a": (0.1, [0.05, 0.2])}, "error = floor + b (D/D0)^-beta + a (N/N0)^-alpha, 95 % intervals"),
    ],
)
def test_the_formula_has_the_term_that_the_sizes_tell(capsys, monkeypatch, parameters, formula):
    study = {"laws": [law(**parameters)], "worldwide_stops_costing_english": [], "recommendation": None}
    assert formula in shown(capsys, monkeypatch, scaling=study)
