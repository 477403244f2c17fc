import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.trials import check_sweep, plan, trial_config
from tests.evaluation_sets import write_set

TRAINING = {"steps": 100, "global_batch_size": 64, "warmup_steps": 10}


def config_of(sweep, **sections):
    return build_config({"recipe": "test", "training": TRAINING, "sweep": sweep, **sections})


@pytest.fixture
def evaluation_set(tmp_path):
    content = {"task": "classification", "classes": {"en": ["crow"], "de": ["Krähe"]}}
    return write_set(tmp_path / "birds", {**content, "templates": {"en": ["{}"], "de": ["{}"]}}, label=[0])


def test_trial_is_the_recipe_with_its_point():
    config = config_of({"dials": {"training.learning_rate": [1e-3], "model.preset": ["tiny"]}})
    [planned] = plan(config)
    expected = build_config({"recipe": "test", "training": {**TRAINING, "learning_rate": 1e-3}})
    assert planned.config == expected
    assert planned.pairs == 6400


def test_one_of_p_and_t_en_unsets_the_other():
    config = config_of({"dials": {"curation.t_en": [5]}})
    assert trial_config(config, {"curation.t_en": 5}).curation.p is None
    back = config_of({"dials": {"curation.p": [0.5]}}, curation={"p": None, "t_en": 5})
    assert trial_config(back, {"curation.p": 0.5}).curation.t_en is None


@given(st.integers(64, 100_000), st.sampled_from([16, 64]))
def test_seen_pairs_are_whole_steps(pairs, batch):
    training = {**TRAINING, "warmup_steps": 0}
    config = build_config({"training": training, "sweep": {"dials": {"seen_pairs": [pairs]}}})
    planned = trial_config(config, {"seen_pairs": pairs, "training.global_batch_size": batch})
    assert planned.training.steps == pairs // batch


def test_arms_are_crossed_with_dials():
    arms = {"plain": {}, "hot": {"training.learning_rate": 0.1, "curation.p": 1.0}}
    planned = list(plan(config_of({"arms": arms, "dials": {"seed": [0, 1]}})))
    assert [(one.point["arm"], one.config.seed) for one in planned] == [
        ("plain", 0),
        ("plain", 1),
        ("hot", 0),
        ("hot", 1),
    ]
    assert [one.config.curation.p for one in planned] == [0.06, 0.06, 1.0, 1.0]


@given(st.integers(6400, 100_000), st.integers(1, 20))
def test_random_trials_stop_where_the_budget_does(budget, trials):
    dials = {"training.steps": {"low": 50, "high": 100}}
    sweep = {"dials": dials, "search": "random", "trials": trials, "budget_pairs": budget}
    pairs = [one.pairs for one in plan(config_of(sweep))]
    assert sum(pairs) <= budget
    unbounded = [one.pairs for one in plan(config_of({**sweep, "budget_pairs": None}))]
    assert pairs == unbounded[: len(pairs)]
    assert len(pairs) == len(unbounded) or sum(unbounded[: len(pairs) + 1]) > budget


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({}, "the recipe has no sweep"),
        ({"dials": {"training.stepz": [1]}}, "unknown field training.stepz"),
        ({"dials": {"trainin.steps": [1]}}, "unknown field trainin.steps"),
        ({"dials": {"training.steps.more": [1]}}, "unknown field training.steps.more"),
        ({"dials": {"compute.num_workers": [1, 2]}}, "compute.num_workers, or one that no result depends on"),
        ({"dials": {"training.steps": [0]}}, "the trial with training.steps = 0: training.steps"),
        ({"dials": {"training.steps": {"low": 5, "high": 200}}, "search": "random", "trials": 1}, "warmup_steps 10"),
        ({"dials": {"training.learning_rate": ["fast"]}}, "training.learning_rate = fast"),
        ({"dials": {"seen_pairs": [63]}}, "seen_pairs 63 is no number of at least one global batch, 64"),
        ({"dials": {"seen_pairs": [6400], "training.steps": [100]}}, "are one dial"),
        ({"arms": {"a": {"model.prset": "tiny"}}}, "unknown field model.prset"),
        ({"dials": {"seed": [0]}, "budget_pairs": 6399}, "budget_pairs 6,399 can't fit one trial of 6,400 pairs"),
        ({"dials": {"seed": [0, 1]}, "budget_pairs": 12_799}, "the grid see 12,800 pairs"),
        ({"dials": {"seed": [0]}, "metric": "train/lost"}, "no trial reports the metric 'train/lost'"),
        ({"dials": {"seed": [0]}, "metric": "valid/loss"}, "no trial reports the metric 'valid/loss'"),
        ({"dials": {"seed": [0]}, "also": ["eval/birds/fr/top1"]}, "no trial reports the metric 'eval/birds/fr/top1'"),
    ],
)
def test_sweep_that_cannot_succeed_is_refused(sweep, told, evaluation_set):
    with pytest.raises(UserError, match=re.escape(told)):
        check_sweep(config_of(sweep, evaluation={"sets": [evaluation_set]}))


@pytest.mark.parametrize(
    ("sweep", "told"),
    [
        ({"dials": {"seed": {"low": 0, "high": 3}}}, "no grid exhausts"),
        ({"dials": {"seed": [1, 1]}}, "has a position twice"),
        ({"dials": {"seed": []}}, "at least 1 item"),
        ({"dials": {"training.learning_rate": {"low": 0, "high": 1, "scale": "log"}}, "search": "random"}, "above 0"),
        ({"dials": {"seed": {"low": 3, "high": 3}}, "search": "random"}, "must be less than high"),
        ({"dials": {"seed": [0]}, "search": "random"}, "give trials or budget_pairs"),
        ({"dials": {"seed": [0]}, "arms": {"a": {"seed": 1}}}, "arm a sets seed, and so does a dial"),
        ({"dials": {"seed": [0]}, "analysis": "ablation"}, "an ablation compares arms"),
    ],
)
def test_sweep_that_contradicts_itself_is_refused(sweep, told):
    with pytest.raises(UserError, match=re.escape(told)):
        config_of(sweep)


def test_metric_of_an_evaluation_set_is_known(evaluation_set):
    sweep = {"dials": {"seed": [0]}, "metric": "eval/birds/mean/top1", "also": ["eval/birds/de/top1", "train/loss"]}
    check_sweep(config_of(sweep, evaluation={"sets": [evaluation_set]}))


def test_ranking_while_trials_run_needs_a_metric_that_is_measured_then(evaluation_set):
    sweep = {"dials": {"seed": [0, 1]}, "metric": "eval/birds/mean/top1", "schedule": "asha"}
    evaluation = {"sets": [evaluation_set]}
    with pytest.raises(UserError, match=r"set training\.validation_rows"):
        check_sweep(config_of(sweep, evaluation=evaluation))
    check_sweep(config_of(sweep, evaluation=evaluation, training={**TRAINING, "validation_rows": 64}))
