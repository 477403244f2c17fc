"""What Ray Tune tells a sweep of its trials, noted as they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ray import tune

from pipelines.board import board_of
from pipelines.config import RunConfig
from pipelines.search import FINISHED, NUMBER, PAIRS, POINT, PROBLEM
from pipelines.shards import Progress
from pipelines.sweep_notes import Ending, Notes, Outcome
from pipelines.sweep_trainings import Trainings


@dataclass
class Watch(tune.Callback):
    """Tune's callback, in the driver: notes how trials end."""

    config: RunConfig
    notes: Notes
    total: int | None  # of trials; None: until their source has no more
    begun: int  # of them, by earlier starts of the sweep
    trainings: Trainings
    progress: Progress
    problems: dict[int, str] = field(default_factory=dict)
    rungs: dict[str, list[tuple[int, float]]] = field(default_factory=dict)

    def __getstate__(self) -> dict[str, Any]:
        """Tune pickles its callbacks; its copies are never read."""
        return {}

    def __post_init__(self) -> None:
        self.outcomes = self.notes.outcomes()
        self._show()

    def stop(self, trial: Any) -> None:  # noqa: ANN401 - Tune's
        """Have a trial end at its next report but one."""
        board_of(self.trainings.prepare(trial.config[POINT])[1]).stop.remote()

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:  # noqa: ANN401, ARG002 - Tune's
        """Keep what the schedule compares."""
        if self.config.sweep.metric in result:
            rung = int(result[PAIRS]), float(result[self.config.sweep.metric])
            self.rungs.setdefault(trial.trial_id, []).append(rung)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Tune's
        """Note the outcome."""
        result, number = trial.last_result, trial.config[NUMBER]
        if PROBLEM in result:
            self.problems[number] = result[PROBLEM]
        else:
            ending = Ending.FINISHED if result.get(FINISHED) else Ending.STOPPED
            rungs = self.rungs.get(trial.trial_id, [])
            compared = {self.config.sweep.metric: rungs[-1][1]} if rungs else {}  # not in every report
            outcome = Outcome(
                number=number,
                point=trial.config[POINT],
                run_name=self.trainings.prepare(trial.config[POINT])[1],
                ending=ending,
                metrics=compared | {name: float(value) for name, value in result.items() if _is_metric(name)},
                samples_seen=int(result[PAIRS]),
                rungs=rungs,
            )
            self.notes.write_outcome(outcome)
            self.outcomes[number] = outcome
        self._show()

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ANN401, ARG002 - Tune's
        """Keep that it failed for good: the next start tries it again."""
        trace = str(trial.get_error() or "it died").strip()
        self.problems[trial.config[NUMBER]] = trace.splitlines()[-1]
        self._show()

    def _show(self) -> None:
        done = len(self.outcomes) + len(self.problems)
        self.progress("trials", done, self.total or max(done, self.begun))


def _is_metric(name: str) -> bool:
    return name.startswith(("train/", "valid/", "eval/"))
