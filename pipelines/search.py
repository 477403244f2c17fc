"""What Ray Tune asks for the next trial: first those that a killed sweep left unfinished, then new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from metaclip_core.search_space import Choice, Dial, Interval, Point
from pipelines.config.sweep import SweepConfig
from pipelines.errors import UserError
from pipelines.sweep_notes import Notes, Outcome
from pipelines.sweep_trainings import Verdict

NUMBER, POINT = "number", "point"  # what a trial is told
PAIRS, FINISHED, PROBLEM = "samples_seen", "finished", "problem"  # what it reports, beside metrics
_MOST_TRIES = 50  # of a sampler, for a trial that is not there yet


class Source(Protocol):
    """Where new points come from."""

    def next(self, trial_id: str) -> Point | None:
        """A point for this trial, or None when there are no more."""

    def told(self, trial_id: str, value: float | None) -> None:
        """What the trial's metric became; None: the trial failed."""


class ListSource:
    """Points that are known beforehand."""

    def __init__(self, points: Iterator[Point]) -> None:
        self._points = points

    def next(self, trial_id: str) -> Point | None:  # noqa: ARG002 - another source needs it
        """The next one."""
        return next(self._points, None)

    def told(self, trial_id: str, value: float | None) -> None:
        """Results change nothing."""


class OptunaSource:
    """Points that earlier results make likely, none twice, until the budget is spent.

    Args:
        sweep: its space, metric and seed.
        judge: prepares a point, and says what is to be done with it.
        before: outcomes of the sweep so far.

    Raises:
        UserError: optuna is not installed.
    """

    def __init__(self, sweep: SweepConfig, judge: Callable[[Point], Verdict], *, before: list[Outcome]) -> None:
        self._dials = sweep.space()
        self._names: dict[str, str] = {}
        self._judge = judge
        try:
            self._optuna = OptunaSearch(
                {name: _domain(dial) for name, dial in self._dials.items()},
                metric=sweep.metric,
                mode=sweep.best_is,
                seed=sweep.seed + len(before),  # a sweep that goes on asks what it has not asked
            )
        except (ImportError, AssertionError) as error:
            raise UserError("search optuna needs the package optuna: pip install optuna") from error
        self._metric = sweep.metric
        for outcome in before:
            if sweep.metric in outcome.metrics:
                self._optuna.add_evaluated_point(self._positions(outcome.point), outcome.metrics[sweep.metric])

    def next(self, trial_id: str) -> Point | None:
        """The first acceptable suggestion."""
        for turn in range(_MOST_TRIES):
            name = f"{trial_id}/{turn}"  # optuna answers a name once
            point = self._point(self._optuna.suggest(name) or {})
            verdict = self._judge(point)
            if verdict is Verdict.NEW:
                self._names[trial_id] = name
                return point
            self._optuna.on_trial_complete(name, error=True)
            if verdict is Verdict.OVER_BUDGET:
                break
        return None

    def told(self, trial_id: str, value: float | None) -> None:
        """Learn from it."""
        name = self._names.pop(trial_id)
        if value is None:
            self._optuna.on_trial_complete(name, error=True)
        else:
            self._optuna.on_trial_complete(name, {self._metric: value})

    def _point(self, positions: dict[str, Any]) -> Point:
        return {
            name: dial.values[positions[name]] if isinstance(dial, Choice) else positions[name]
            for name, dial in self._dials.items()
        }

    def _positions(self, point: Point) -> dict[str, Any]:
        return {
            name: dial.values.index(point[name]) if isinstance(dial, Choice) else point[name]
            for name, dial in self._dials.items()
        }


def _domain(dial: Dial) -> Any:  # noqa: ANN401 - Tune's domains have no common public type
    if isinstance(dial, Choice):
        return tune.choice(list(range(len(dial.values))))  # positions: optuna takes no lists and no mappings
    return _of_integers(dial) if dial.is_integer else _of_numbers(dial)


def _of_integers(dial: Interval) -> Any:  # noqa: ANN401 - likewise
    domain = tune.lograndint if dial.is_log else tune.randint
    return domain(int(dial.low), int(dial.high) + 1)


def _of_numbers(dial: Interval) -> Any:  # noqa: ANN401 - likewise
    domain = tune.loguniform if dial.is_log else tune.uniform
    return domain(dial.low, dial.high)


class Points(Searcher):
    """Hands out numbered points, each noted before; what a killed sweep left unfinished comes first."""

    def __init__(
        self, source: Source, notes: Notes, *, metric: str, unfinished: dict[int, Point], next_number: int
    ) -> None:
        super().__init__(metric=metric)
        self._source = source
        self._notes = notes
        self._unfinished = dict(sorted(unfinished.items()))
        self._next = next_number
        self._of_source: set[str] = set()
        self._values: dict[str, float] = {}  # of running trials, the last

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its searcher; its copies are never read."""
        return {}

    def suggest(self, trial_id: str) -> Any:  # noqa: ANN401 - Tune types only one of its answers
        """The next trial's parameters."""
        if self._unfinished:
            number = next(iter(self._unfinished))
            return {NUMBER: number, POINT: self._unfinished.pop(number)}
        point = self._source.next(trial_id)
        if point is None:
            return Searcher.FINISHED
        number, self._next = self._next, self._next + 1
        self._notes.write_point(number, point)
        self._of_source.add(trial_id)
        return {NUMBER: number, POINT: point}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Not every report has what is compared, and that of a trial that is stopped may not."""
        if self.metric in result:
            self._values[trial_id] = result[self.metric]

    def on_trial_complete(
        self,
        trial_id: str,
        result: dict[str, Any] | None = None,
        error: bool = False,  # noqa: FBT001, FBT002 - Tune's
    ) -> None:
        """A trial has ended."""
        result = result or {}
        self.on_trial_result(trial_id, result)
        value = self._values.pop(trial_id, None)
        if trial_id in self._of_source:
            self._source.told(trial_id, None if error or PROBLEM in result else value)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the notes hold all."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing."""
