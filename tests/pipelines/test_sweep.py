"""Sweeps on a small Ray cluster: what is shared, what is refused, what a record holds."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient
from ray.tune.schedulers import TrialScheduler

from metaclip_core.room import Node
from pipelines import storage
from pipelines import sweep as sweeps
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.errors import UserError
from pipelines.metadata import import_metadata
from pipelines.schedule import scheduler_of
from pipelines.search import PAIRS
from pipelines.sweep import check_room, sweep
from pipelines.sweep_notes import Ending, Outcome
from pipelines.sweep_trainings import Trainings, Verdict

STEPS, BATCH = 6, 16
SMALL = [f"training.steps={STEPS}", "training.checkpoint_every_steps=3", "compute.num_workers=1"]


def quiet(*_):
    """No progress."""


def stamps(folder):
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def curated_root(cluster, sample, tmp_path_factory):
    """A root with the sample curated at p = 0.3."""
    root = tmp_path_factory.mktemp("sweeps") / "root"
    pool = {"name": "numbers", "uri": str(sample)}
    config = build_config({"root": str(root), "pool": pool, "metadata": {"name": "numbers"}, "curation": {"p": 0.3}})
    import_metadata(str(sample / "metadata"), config)
    curate(config, progress=quiet)
    return root


@pytest.fixture
def recipe(curated_root, make_config, tmp_path):
    """Configurations of sweeps over a copy of the curated root."""
    shutil.copytree(curated_root, tmp_path / "root")

    def make(sweep_section, *overrides):
        content = make_config(*SMALL, *overrides).model_dump(mode="json")
        return build_config({**content, "sweep": sweep_section})

    return make


@pytest.mark.ray
def test_another_threshold_recounts_nothing(recipe):
    config = recipe({"dials": {"curation.p": [0.3, 0.1], "curation.thresholds": ["language", "pool"]}})
    root = Path(config.root)
    counted = {kind: stamps(root / kind) for kind in ("annotations", "duplicates", "counts")}
    assert all(counted.values())
    trainings = Trainings(config, progress=quiet)
    points = [(0.3, "language"), (0.1, "language"), (0.1, "pool")]
    names = {trainings.prepare({"curation.p": p, "curation.thresholds": scope})[1] for p, scope in points}
    assert {kind: stamps(root / kind) for kind in counted} == counted
    assert len(trainings.versions) == len(names) == len(list((root / "thresholds").iterdir())) == 3


@pytest.mark.ray
def test_each_distinct_curation_is_made_once(recipe):
    dials = {"curation.normaliser": ["unicode", "paper"], "training.learning_rate": [1e-3, 1e-4]}
    config = recipe({"dials": dials})
    trainings = Trainings(config, progress=quiet)
    points = sweeps._prepare(config, trainings)
    assert len(points) == 4
    assert len(trainings.versions) == 2
    assert len(list((Path(config.root) / "counts").iterdir())) == 2


@pytest.mark.ray
def test_points_that_are_one_training_are_refused(recipe):
    arms = {"one": {"training.learning_rate": 1e-3}, "other": {"training.learning_rate": 0.001}}
    config = recipe({"arms": arms})
    with pytest.raises(UserError, match="two trials are the same training"):
        sweep(config, progress=quiet)
    assert not (Path(config.root) / "runs").exists()


@pytest.mark.ray
def test_scaled_batches_count_against_the_budget(recipe):
    settings = ["training.scale=worldwide", "training.scale_multiple=1"]
    config = recipe({"dials": {"seed": [0, 1]}, "budget_pairs": 3 * STEPS * BATCH}, *settings)
    trainings = Trainings(config, progress=quiet)
    assert trainings.judge({"seed": 0}) is Verdict.NEW  # 42 % of the draw is English
    assert trainings.judge({"seed": 1}) is Verdict.OVER_BUDGET
    with pytest.raises(UserError, match=r"see more than sweep\.budget_pairs 288, scaled"):
        sweep(config, progress=quiet)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("sweep_section", "overrides", "told"),
    [
        (
            {"dials": {"seed": [0]}},
            ["compute.num_workers=16", "training.global_batch_size=16"],
            "no room for one trial",
        ),
        ({"dials": {"seed": [0]}, "budget_pairs": 95}, [], "can't fit one trial of 96 pairs"),
        ({"dials": {"seed": [0]}, "metric": "eval/birds/en/top1"}, [], "no trial reports the metric"),
        ({"dials": {"training.stepz": [1]}}, [], "unknown field training.stepz"),
    ],
)
def test_sweep_that_cannot_work_is_refused_before_anything_starts(recipe, sweep_section, overrides, told):
    config = recipe(sweep_section, *overrides)
    before = {path.name for path in Path(config.root).iterdir()}
    with pytest.raises(UserError, match=told):
        sweep(config, progress=quiet)
    assert {path.name for path in Path(config.root).iterdir()} == before


@pytest.mark.parametrize(
    ("cpus", "overrides", "at_once"),
    [
        (6, [], 1),
        (6, ["compute.num_workers=1"], 1),
        (8, ["compute.num_workers=1"], 2),
        (9, ["compute.num_workers=1", "training.validation_rows=8"], 1),
        (10, ["compute.num_workers=1", "training.validation_rows=8"], 2),
        (100, ["compute.num_workers=1", "sweep.at_once=3"], 3),
    ],
)
def test_trials_at_once_leave_room_for_the_data_of_each(make_config, monkeypatch, cpus, overrides, at_once):
    monkeypatch.setattr(sweeps, "nodes_of", lambda _: [Node(cpus)])
    assert check_room(make_config(*overrides)) == at_once


def test_search_that_curates_beside_the_trials_keeps_a_cpu_for_it(make_config, monkeypatch):
    monkeypatch.setattr(sweeps, "nodes_of", lambda _: [Node(8)])
    config = make_config("compute.num_workers=1")
    sections = {"dials": {"seed": [0, 1]}, "search": "optuna", "trials": 2}
    asked = build_config({**config.model_dump(mode="json"), "sweep": sections})
    assert check_room(asked) == 1


def test_schedule_remembers_the_trials_of_a_sweep_that_was_killed():
    asked = {"dials": {"seed": [0, 1]}, "schedule": "asha", "grace_pairs": 100, "reduction": 2}
    config = build_config({"training": {"steps": 100, "warmup_steps": 0}, "sweep": asked})
    rungs = [(100, 1.0), (200, 0.9)]
    before = [Outcome(n, {"seed": n}, f"run-{n}", Ending.FINISHED, {}, 200, rungs) for n in range(3)]
    trial = SimpleNamespace(trial_id="new")
    stopped = {}
    for known in ([], before):
        told = stopped.setdefault(len(known), [])
        scheduler = scheduler_of(config, known, stop=told.append)
        scheduler.on_trial_add(None, trial)
        for pairs in (100, 200):  # Tune's decision is never to end its process
            assert scheduler.on_trial_result(None, trial, {PAIRS: pairs, "train/loss": 5.0}) == TrialScheduler.CONTINUE
    assert stopped == {0: [], 3: [trial]}


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_worse_trials_are_stopped_with_all_that_ran_for_them_and_better_ones_follow(recipe, tmp_path):
    # at a loss of ln(batch), a larger batch is worse from its first step on; the last is as good as the first
    asked = {
        "arms": {
            "small": {"training.global_batch_size": 16},
            "large": {"training.global_batch_size": 64},
            "small again": {"training.global_batch_size": 16, "seed": 1},
        },
        "schedule": "asha",
        "grace_pairs": 320,
        "reduction": 2,
        "at_once": 1,
    }
    lengths = ["training.steps=60", "training.checkpoint_every_steps=60", "training.log_every_steps=5"]
    config = recipe(asked, *lengths, "training.validation_rows=8")
    result = sweep(config, progress=quiet)
    assert not result.problems
    small, large, again = result.outcomes
    assert (small.ending, large.ending) == (Ending.FINISHED, Ending.STOPPED)
    assert 320 <= large.samples_seen < 60 * 64
    assert again.samples_seen >= 320
    assert "valid/loss" in small.metrics  # of a validation beside the trial
    runs = Path(config.root) / "runs"
    assert (runs / small.run_name / "result.json").exists()
    assert not (runs / large.run_name / "result.json").exists()
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    asked_of = json.loads((runs / large.run_name / "run.json").read_text())["mlflow_run_id"]
    assert client.get_run(asked_of).info.status == "KILLED"
    before = stamps(runs)
    assert sweep(config, progress=quiet).outcomes == result.outcomes
    assert stamps(runs) == before


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_sweep_records_its_trials_below_it_and_crowns_the_best(recipe, sample, tmp_path):
    evaluation = f"evaluation.sets=[{sample / 'evaluation' / 'numbers-10'}]"
    metric = "eval/numbers-10/en/top1"
    asked = {
        "dials": {"training.learning_rate": [1e-3, 1e30]},
        "metric": metric,
        "best_is": "max",
        "also": ["train/loss"],
        "champion": "numbers",
    }
    config = recipe(asked, evaluation, "training.warmup_steps=0")
    result = sweep(config, progress=quiet)
    assert [outcome.number for outcome in result.outcomes] == [0]
    assert "diverged" in result.problems[1]  # a trial that fails ends no sweep
    [best] = result.outcomes
    assert best == result.best
    assert best.samples_seen == STEPS * BATCH
    assert {metric, "train/loss"} <= best.metrics.keys()

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}")
    parent = client.get_run(result.mlflow_run_id)
    assert parent.info.status == "FINISHED"
    experiment = parent.info.experiment_id
    nested = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{result.mlflow_run_id}'")
    assert len(nested) == 2
    assert {run.info.status for run in nested} == {"FINISHED", "FAILED"}
    [run] = [run for run in nested if run.info.status == "FINISHED"]
    tags = run.data.tags
    assert {"recipe", "pool", "metadata", "curation", "p", "t_en", "sweep", "mlflow.source.git.commit"} <= tags.keys()
    assert tags["dial.training.learning_rate"] == "0.001"
    assert run.data.metrics[metric] == best.metrics[metric]
    [data_set] = [logged.dataset for logged in run.inputs.dataset_inputs]
    assert data_set.digest == tags["curation"]
    assert {entry.path for entry in client.list_artifacts(run.info.run_id)} >= {"model", "report"}

    version = client.get_model_version_by_alias("numbers", "champion")
    assert version.run_id == run.info.run_id
    for part in ("numbers-10 | en | top1", "index.html", "Meant for"):
        assert part in version.description
    folder = client.download_artifacts(run.info.run_id, "model", str(tmp_path))
    assert (Path(folder) / "README.md").read_text() == version.description

    before = stamps(storage.Layout(config.root).runs())
    again = sweep(config, progress=quiet)
    assert again.outcomes == result.outcomes
    finished = Path(config.root) / "runs" / best.run_name
    after = stamps(storage.Layout(config.root).runs())
    assert {path: when for path, when in after.items() if finished in path.parents} == {
        path: when for path, when in before.items() if finished in path.parents
    }
    assert json.loads((Path(result.uri) / "result.json").read_text())["best"] == best.run_name
