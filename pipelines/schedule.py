"""How long trials run: to their end, or, for a ranking, until others are better."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, TrialScheduler

from pipelines.config import RunConfig
from pipelines.config.sweep import Schedule, Search
from pipelines.search import PAIRS
from pipelines.sweep_notes import Outcome
from pipelines.trials import plan

_GRACE = 10  # a trial is not stopped before this part of the longest one


class Halving(ASHAScheduler):
    """ASHA whose worse trials are told to stop, and end by themselves.

    Tune would end the trial's process in the middle of its run, whose workers' places Ray then keeps until the sweep
    ends: the next trial would wait for them for ever.
    """

    def __init__(self, stop: Callable[[Any], None], **options: Any) -> None:  # noqa: ANN401 - Tune's
        super().__init__(**options)
        self._stop = stop
        self._told: set[str] = set()

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401, ARG002 - Tune's
        """Go on, whatever happens."""
        if trial.trial_id not in self._told and self.recall(trial, result) == TrialScheduler.STOP:
            self._told.add(trial.trial_id)
            self._stop(trial)
        return TrialScheduler.CONTINUE

    def recall(self, trial: Any, result: dict[str, Any]) -> str:  # noqa: ANN401 - Tune's
        """Remember a result; ASHA's decision."""
        nobody: Any = None  # it does not ask
        return super().on_trial_result(nobody, trial, result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:  # noqa: ANN401 - Tune's
        """What a trial reports on its way out is compared with nothing."""
        if trial.trial_id in self._told:
            self.on_trial_remove(tune_controller, trial)
        else:
            super().on_trial_complete(tune_controller, trial, result)


def scheduler_of(config: RunConfig, before: Iterable[Outcome], *, stop: Callable[[Any], None]) -> TrialScheduler:
    """The recipe's schedule, which remembers what ended trials reported.

    Args:
        config: the recipe.
        before: outcomes of the sweep so far.
        stop: has a trial of Tune's end.
    """
    sweep = config.sweep
    if sweep.schedule is Schedule.FULL:
        return FIFOScheduler()  # type: ignore[no-untyped-call]
    longest = max(planned.pairs for planned in plan(config)) if sweep.search is not Search.OPTUNA else 0
    longest = longest or config.training.steps * config.training.global_batch_size
    scheduler = Halving(
        stop,
        time_attr=PAIRS,
        metric=sweep.metric,
        mode=sweep.best_is,
        max_t=longest,
        grace_period=sweep.grace_pairs or max(1, longest // _GRACE),
        reduction_factor=sweep.reduction,
        stop_last_trials=False,
    )
    nobody: Any = None
    for outcome in before:
        trial: Any = SimpleNamespace(trial_id=f"before-{outcome.number}")
        scheduler.on_trial_add(nobody, trial)
        for pairs, value in outcome.rungs:
            scheduler.recall(trial, {PAIRS: pairs, sweep.metric: value})
        scheduler.on_trial_remove(nobody, trial)
    return scheduler
