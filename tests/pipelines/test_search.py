"""What Tune is told to try, without Ray: a sweep that is killed anywhere tries the same trials, each once."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ray.tune.search import Searcher

from pipelines.config import build_config
from pipelines.search import NUMBER, POINT, PROBLEM, ListSource, OptunaSource, Points
from pipelines.sweep_notes import Ending, Notes, Outcome
from pipelines.sweep_trainings import Verdict

METRIC = "train/loss"


def outcome_of(number, point, value=1.0):
    return Outcome(number, point, f"run-{number}", Ending.FINISHED, {METRIC: value}, 100, [(50, 2.0), (100, value)])


def searcher(points, notes):
    """As a sweep makes it when it starts, and when it starts again."""
    known, ended = notes.points(), notes.outcomes()
    unfinished = {number: point for number, point in enumerate(known) if number not in ended}
    source = ListSource(iter(points[len(known) :]))
    return Points(source, notes, metric=METRIC, unfinished=unfinished, next_number=len(known))


@settings(max_examples=30)
@given(st.integers(1, 8), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4))
def test_sweep_killed_at_any_moment_tries_each_trial_once(tmp_path_factory, number, lives):
    points = [{"seed": seed} for seed in range(number)]
    notes = Notes(str(tmp_path_factory.mktemp("sweep")))
    started, ended = [], []
    for hand_outs, endings in [*lives, (number, number)]:
        asked = searcher(points, notes)
        running = []
        for trial in range(hand_outs):
            told = asked.suggest(f"trial-{trial}")
            if told == Searcher.FINISHED:
                break
            running.append(told)
            started.append(told[NUMBER])
        for told in running[:endings]:
            notes.write_outcome(outcome_of(told[NUMBER], told[POINT]))
            ended.append(told[NUMBER])
    assert notes.points() == points
    assert sorted(ended) == list(range(number))  # none ended twice
    assert set(started) == set(range(number))


def test_point_is_noted_before_its_trial_starts(tmp_path):
    notes = Notes(str(tmp_path))
    told = searcher([{"seed": 7}], notes).suggest("a")
    assert told == {NUMBER: 0, POINT: {"seed": 7}}
    assert notes.points() == [{"seed": 7}]


class Listener(ListSource):
    """Remembers what it was told."""

    def __init__(self, points):
        super().__init__(iter(points))
        self.heard = []

    def told(self, trial_id, value):
        self.heard.append((trial_id, value))


def test_what_trials_come_to_is_told_to_the_source_of_their_points(tmp_path):
    source = Listener([{"seed": seed} for seed in range(4)])
    asked = Points(source, Notes(str(tmp_path)), metric=METRIC, unfinished={7: {"seed": 9}}, next_number=8)
    for trial in "abcde":
        asked.suggest(trial)
        asked.on_trial_result(trial, {METRIC: 3.0})
    asked.on_trial_complete("a", {METRIC: 5.0})  # of another life: the source did not ask for it
    asked.on_trial_complete("b", {METRIC: 2.0, "train/grad_norm": 9.0})
    asked.on_trial_complete("c", error=True)
    asked.on_trial_complete("d", {PROBLEM: "it diverged"})
    asked.on_trial_complete("e", {"train/grad_norm": 9.0})  # stopped between two validations, say
    assert source.heard == [("b", 2.0), ("c", None), ("d", None), ("e", 3.0)]


def test_outcomes_are_read_as_they_were_written(tmp_path):
    notes = Notes(str(tmp_path))
    outcome = outcome_of(3, {"curation.p": 0.1, "model.preset": "tiny"})
    notes.write_outcome(outcome)
    assert notes.outcomes() == {3: outcome}


SPACE = {"training.learning_rate": {"low": 1e-5, "high": 1.0, "scale": "log"}, "curation.p": [0.1, 0.3, 1.0]}


def sweep_of(dials=SPACE, **changes):
    asked = {"dials": dials, "search": "optuna", "trials": 9, **changes}
    return build_config({"sweep": asked}).sweep


def test_optuna_comes_near_to_what_is_best():
    source = OptunaSource(sweep_of(), lambda _: Verdict.NEW, before=[])
    tried = []
    for trial in range(60):
        point = source.next(str(trial))
        value = abs(point["curation.p"] - 0.3) + abs(point["training.learning_rate"] - 1e-2)
        source.told(str(trial), value)
        tried.append((value, point))
    later = [point["curation.p"] for _, point in tried[30:]]
    assert later.count(0.3) > 15
    assert min(tried, key=lambda one: one[0])[1]["training.learning_rate"] == pytest.approx(1e-2, abs=1e-2)


def test_optuna_tries_no_training_twice_and_ends_a_space_that_is_exhausted():
    known = set()

    def judge(point):
        name = str(point)
        verdict = Verdict.SAME if name in known else Verdict.NEW
        known.add(name)
        return verdict

    source = OptunaSource(sweep_of({"curation.p": [0.1, 0.3], "seed": [0, 1]}), judge, before=[])
    points = list(itertools.takewhile(lambda point: point is not None, map(source.next, map(str, range(9)))))
    assert len(points) == len({str(point) for point in points}) == 4


def test_optuna_stops_when_the_budget_is_spent():
    verdicts = iter([Verdict.NEW, Verdict.NEW, Verdict.OVER_BUDGET])
    source = OptunaSource(sweep_of(), lambda _: next(verdicts), before=[])
    assert [source.next(str(trial)) is None for trial in range(3)] == [False, False, True]


def test_optuna_learns_from_the_trials_of_a_sweep_that_was_killed():
    before = [
        outcome_of(number, {"training.learning_rate": rate, "curation.p": p}, value=0.0 if p == 0.3 else 9.0)
        for number, (rate, p) in enumerate(itertools.product([1e-4, 1e-3, 1e-2, 1e-1], [0.1, 0.3, 1.0]))
    ]
    source = OptunaSource(sweep_of(), lambda _: Verdict.NEW, before=before)
    points = []
    for trial in range(20):
        points.append(source.next(str(trial)))
        source.told(str(trial), 0.0 if points[-1]["curation.p"] == 0.3 else 9.0)
    assert sum(point["curation.p"] == 0.3 for point in points) > 10
