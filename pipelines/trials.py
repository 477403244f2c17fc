"""Trials: a point of the search space as a configuration, and what is checked of it before anything starts."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from metaclip_core.search_space import Choice, Point, corners, draws, grid
from pipelines.config import RunConfig, build_config
from pipelines.config.sweep import Schedule, Search, SweepConfig
from pipelines.errors import UserError
from pipelines.evaluation_sets import MEAN, load_sets
from pipelines.measures import metric_names
from pipelines.tasks import checked_tasks
from pipelines.validation import OF_PAIRS

ARM = "arm"
SEEN_PAIRS = "seen_pairs"
_SECTIONS = frozenset({"seed", "metadata", "curation", "feed", "model", "training"})  # results depend on them
_EITHER = {"curation.p": "curation.t_en", "curation.t_en": "curation.p"}
_OF_TRAINING = frozenset({"train/loss"})


@dataclass(frozen=True)
class Planned:
    """A trial before it runs: its point, and the recipe there."""

    point: Point
    config: RunConfig

    @property
    def pairs(self) -> int:
        """What it sees until its end."""
        return self.config.training.steps * self.config.training.global_batch_size


def trial_config(config: RunConfig, point: Point) -> RunConfig:
    """The recipe at a point of its search space.

    Raises:
        UserError: a dial over an unknown field or one that changes no result, or values that can't go together.
    """
    content = config.model_dump(mode="json")
    content["sweep"] = {}
    settings = {path: value for path, value in point.items() if path != ARM}
    if ARM in point:
        settings |= config.sweep.arms[point[ARM]]
    for path, value in settings.items():
        if path != SEEN_PAIRS:
            _set(content, path, value)
            if path in _EITHER and value is not None and _EITHER[path] not in settings:
                _set(content, _EITHER[path], None)
    if SEEN_PAIRS in settings:
        _set_seen_pairs(content, settings)
    try:
        return build_config(content)
    except UserError as error:
        told = ", ".join(f"{path} = {value}" for path, value in point.items())
        raise UserError(f"the trial with {told}: {error}") from error


def _set_seen_pairs(content: dict[str, Any], settings: dict[str, Any]) -> None:
    if "training.steps" in settings:
        raise UserError(f"sweep: {SEEN_PAIRS} and training.steps are one dial: leave one out")
    pairs, batch = settings[SEEN_PAIRS], content["training"]["global_batch_size"]
    if not isinstance(pairs, int) or isinstance(pairs, bool) or pairs < batch:
        raise UserError(f"sweep: {SEEN_PAIRS} {pairs!r} is no number of at least one global batch, {batch}")
    content["training"]["steps"] = pairs // batch


def _set(content: dict[str, Any], path: str, value: object) -> None:
    *sections, key = path.split(".")
    if [*sections, key][0] not in _SECTIONS:
        raise UserError(f"sweep: unknown field {path}, or one that no result depends on")
    for section in sections:
        content = content.get(section, {})
    if not isinstance(content, dict) or key not in content:
        raise UserError(f"sweep: unknown field {path}")
    content[key] = copy.deepcopy(value)


def plan(config: RunConfig) -> Iterator[Planned]:
    """The trials of a search that does not look at results, in order; whatever has been drawn fits the budget."""
    sweep = config.sweep
    left = sweep.budget_pairs
    for point in islice(_points(sweep), sweep.trials):
        planned = Planned(point, trial_config(config, point))
        if left is not None:
            left -= planned.pairs
            if left < 0:
                return
        yield planned


def _points(sweep: SweepConfig) -> Iterator[Point]:
    space = sweep.space()
    if sweep.search is Search.GRID:
        return grid({name: dial for name, dial in space.items() if isinstance(dial, Choice)})
    return draws(space, seed=sweep.seed)


def check_sweep(config: RunConfig) -> None:
    """Refuse what can't succeed before anything starts; reads evaluation sets, trains nothing.

    Raises:
        UserError: no dials, a dial over an unknown field, a trial that is no possible recipe, a budget that does not
            suffice for it, or a metric that no trial reports.
    """
    sweep = config.sweep
    space = sweep.space()
    if not space:
        raise UserError("the recipe has no sweep: give sweep.dials or sweep.arms")
    tried = [Planned(point, trial_config(config, point)) for point in corners(space)]
    if sweep.arms:  # each arm is also a trial of its own settings
        tried += [Planned({ARM: arm}, trial_config(config, {ARM: arm})) for arm in sweep.arms]
    _check_budget(config, tried)
    known = _metrics(config)
    for metric in [sweep.metric, *sweep.also]:
        if metric not in known:
            some = sorted(name for name in known if not name.startswith("eval/") or f"/{MEAN}/" in name)
            raise UserError(f"no trial reports the metric {metric!r}; known here, and by language: {', '.join(some)}")
    if sweep.schedule is Schedule.ASHA and sweep.metric not in _during(config, known):
        raise UserError(
            f"schedule asha compares trials while they run, and {sweep.metric!r} is measured at their end: "
            "set training.validation_rows"
        )


def _check_budget(config: RunConfig, tried: list[Planned]) -> None:
    budget = config.sweep.budget_pairs
    if budget is None:
        return
    largest = max(planned.pairs for planned in tried)
    if largest > budget:
        raise UserError(f"sweep.budget_pairs {budget:,} can't fit one trial of {largest:,} pairs")
    if config.sweep.search is Search.GRID:
        all_pairs = sum(Planned(point, trial_config(config, point)).pairs for point in _points(config.sweep))
        if all_pairs > budget:
            raise UserError(f"the trials of the grid see {all_pairs:,} pairs, and sweep.budget_pairs is {budget:,}")


def _metrics(config: RunConfig) -> set[str]:
    """What a finished trial has reported."""
    names = set(_OF_TRAINING)
    if config.training.validation_rows:
        names |= OF_PAIRS
    return names.union(*(metric_names(dataset, task) for dataset, task in checked_tasks(load_sets(config))))


def _during(config: RunConfig, known: set[str]) -> set[str]:
    """Those that are also reported before the end."""
    return known if config.training.validation_rows else set(_OF_TRAINING)
