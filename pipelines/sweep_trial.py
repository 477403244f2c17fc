"""One trial of a sweep, in a process of its own: a training run and its evaluation, told to Ray Tune as they go."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import tune

from metaclip_core.search_space import Point
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.evaluate import evaluate_run, load_metrics
from pipelines.search import FINISHED, NUMBER, PAIRS, POINT, PROBLEM
from pipelines.tracking import nested_in
from pipelines.training import StoppedError, train
from pipelines.trials import trial_config

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialSpec:
    """What all trials of a sweep are told."""

    config: RunConfig
    sweep_name: str
    parent_run_id: str


def run_trial(told: dict[str, Any], *, spec: TrialSpec) -> None:
    """Tune's entry; `told` holds a number and a point. A run that is done is not trained again.

    A problem that a person can mend is reported and not raised, for to try again would not mend it.
    """
    config = trial_config(spec.config, told[POINT])
    try:
        with connected(config.compute):
            _run(config, told, spec)
    except UserError as error:
        tune.report({PROBLEM: str(error)})
    except StoppedError as stopped:  # what it reported last is its outcome
        _log.info("%s", stopped)


def _run(config: RunConfig, told: Mapping[str, Any], spec: TrialSpec) -> None:
    pairs_of_step = 0.0

    def on_training(post: dict[str, Any]) -> None:
        nonlocal pairs_of_step
        pairs_of_step = post[PAIRS] / post["step"]
        if post["step"] < config.training.steps:  # the last report is that of the whole trial
            tune.report(_numbers(post))

    def on_validation(post: dict[str, Any]) -> None:
        if post["step"] < config.training.steps:
            tune.report({**_numbers(post), PAIRS: round(post["step"] * pairs_of_step)})

    tags = {
        **nested_in(spec.parent_run_id),
        "sweep": spec.sweep_name,
        "trial": str(told[NUMBER]),
        **_tags(told[POINT]),
    }
    result = train(config, report=on_training, on_validation=on_validation, tags=tags)
    metrics = dict(result.metrics)
    if config.evaluation.sets:
        metrics |= load_metrics(config, result) or evaluate_run(config, progress=lambda *_: None)
    tune.report({**_numbers(metrics), PAIRS: result.samples_seen, FINISHED: True})


def _numbers(post: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in post.items() if isinstance(value, int | float)}


def _tags(point: Point) -> dict[str, str]:
    return {f"dial.{name}": str(value) for name, value in point.items()}
