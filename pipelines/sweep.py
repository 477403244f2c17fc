"""A sweep: trials over the recipe's search space, each a training run. Started again, it continues where it was.

Ray Tune decides which trial comes next and which goes on; what a trial trains is in its run's own folder. All that a
sweep knows is noted in plain files, so that nothing of Tune's own state is needed to go on.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from dataclasses import dataclass
from typing import Any

from ray import tune

from metaclip_core.room import Piece, jobs_at_once
from metaclip_core.search_space import Point, corners
from pipelines import storage
from pipelines.cluster import connected, data_pieces, nodes_of, resource
from pipelines.config import RunConfig
from pipelines.config.sweep import Analysis, Search
from pipelines.errors import UserError
from pipelines.feed import feed_cpus
from pipelines.registration import CHAMPION, register
from pipelines.report import report
from pipelines.schedule import scheduler_of
from pipelines.search import ListSource, OptunaSource, Points, Source
from pipelines.shards import Progress
from pipelines.sweep_notes import Ending, Notes, Outcome
from pipelines.sweep_report import (
    Study,
    ablation,
    ablation_json,
    ablation_plots,
    publish,
    scaling,
    scaling_plots,
)
from pipelines.sweep_trainings import Trainings, Verdict
from pipelines.sweep_trial import TrialSpec, run_trial
from pipelines.sweep_watch import Watch
from pipelines.tracking import Record, forgiving, local_paths_absolute, start_record, tracking_uri
from pipelines.trials import check_sweep, plan, trial_config
from pipelines.validation import CPUS as VALIDATION_CPUS

REVISION = 1
_SWEEP = "sweep.json"
_TUNE = "tune"
_HEAD = {"node:__internal_head__": 0.001}  # a trial's own process computes nothing, and its node is not taken away
_MOST_AT_ONCE = 1_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SweepResult:
    """What became of a sweep."""

    name: str
    uri: str
    mlflow_run_id: str
    outcomes: list[Outcome]
    problems: dict[int, str]  # of trials that failed, by number
    best: Outcome
    analysis: dict[str, Any]  # by kind; what `result.json` holds of it


@dataclass(frozen=True)
class _Task:
    """The trials of a sweep: what is known of each, and where more come from."""

    total: int | None  # None: until the source has no more
    unfinished: dict[int, Point]
    next_number: int
    source: Source


def sweep(config: RunConfig, *, progress: Progress) -> SweepResult:
    """Try the points of the recipe's search space. Connects to Ray where nobody has yet.

    Raises:
        UserError: what `check_sweep` refuses, no room for a trial, two trials that are one training, or all failed.
    """
    check_sweep(config)
    # a trial's process has a working directory of its own
    absolute = {"root": storage.absolute(config.root), "tracking": local_paths_absolute(config.tracking)}
    config = config.model_copy(update=absolute)
    with connected(config.compute):
        at_once = check_room(config)
        trainings = Trainings(config, progress=progress)
        points = _prepare(config, trainings)
        name = _name(config, trainings.versions)
        uri = storage.Layout(config.root).sweep(name)
        record = _record(config, name, uri)
        notes = Notes(uri)
        task = _task(config, notes, trainings, points)
        watch = Watch(config, notes, total=task.total, begun=task.next_number, trainings=trainings, progress=progress)
        if task.unfinished or task.total is None or task.next_number < task.total:
            _run(config, task, watch, TrialSpec(config, name, record.run_id), at_once=at_once, notes=notes, uri=uri)
        return _result(config, name, uri, record, watch)


def check_room(config: RunConfig) -> int:
    """How many trials run at once. Every worker, actor and task of theirs finds its place then, in any order.

    Raises:
        UserError: not even one has room; with the arithmetic.
    """
    compute = config.compute
    job = [
        Piece(compute.num_workers, compute.worker_cpus, gpus=1 if compute.use_gpu else 0),
        *data_pieces(compute, feed_cpus=feed_cpus(config)),
        Piece(VALIDATION_CPUS if config.training.validation_rows else 0, 1),
    ]
    # what is not known beforehand is curated while trials run
    beside = [Piece(1, 1)] if config.sweep.search is Search.OPTUNA else []
    most = config.sweep.at_once or _MOST_AT_ONCE
    for name, amount in compute.worker_resources.items():
        most = min(most, int(resource(compute, name) / (amount * compute.num_workers)))
    nodes = nodes_of(compute)
    number = jobs_at_once(nodes, job, most=most, beside=beside)
    if not number:
        asked = " + ".join(f"{one.count} × {one.cpus:g}" for one in [*job, *beside] if one.count)
        have = ", ".join(f"{node.cpus:g}" for node in nodes)
        raise UserError(
            f"no room for one trial: it needs {asked} CPUs, wherever these land, and nodes have {have}; lower "
            "compute.num_workers, compute.feed_actors or compute.decode_actors, or raise compute.local_cpus"
        )
    return number


def _prepare(config: RunConfig, trainings: Trainings) -> list[Point] | None:
    """The points of a search that does not look at results, all curated, in order; None of one that does."""
    if config.sweep.search is Search.OPTUNA:
        for point in corners(config.sweep.space()):
            trainings.prepare(point)
        return None
    points = []
    for planned in plan(config):
        verdict = trainings.judge(planned.point)
        if verdict is Verdict.SAME:
            raise UserError(f"two trials are the same training; one of them is {planned.point}")
        if verdict is Verdict.OVER_BUDGET and config.sweep.search is Search.GRID:
            raise UserError(
                f"the trials of the grid see more than sweep.budget_pairs {config.sweep.budget_pairs:,}, scaled as "
                "training.scale asks"
            )
        if verdict is Verdict.OVER_BUDGET:
            break
        points.append(planned.point)
    return points


def _name(config: RunConfig, curations: list[str]) -> str:
    """Where a sweep runs and how much of it at once is not in its name: it may go on elsewhere."""
    content = config.model_dump(mode="json", include={"seed", "feed", "model", "training", "evaluation"})
    asked = config.sweep.model_dump(mode="json", exclude={"at_once", "max_failures"})
    version = storage.version_of("sweep", REVISION, sweep=asked, curations=curations, **content)
    return f"{config.recipe}-sweep-{version[:8]}"


def _record(config: RunConfig, name: str, uri: str) -> Record:
    """The parent run of the trials' runs."""
    place = storage.join(uri, _SWEEP)
    try:
        record = Record(tracking_uri(config.tracking), storage.read_json(place)["mlflow_run_id"])
    except FileNotFoundError:
        record = start_record(config, name=name, place=uri, tags={"recipe": config.recipe, "kind": "sweep"})
        storage.write_json(place, {"mlflow_run_id": record.run_id})
    else:
        with forgiving("the restart of the sweep"):
            record.resume()
    return record


def _task(config: RunConfig, notes: Notes, trainings: Trainings, points: list[Point] | None) -> _Task:
    known, outcomes = notes.points(), notes.outcomes()
    unfinished = {number: point for number, point in enumerate(known) if number not in outcomes}
    source: Source
    if points is None:
        for point in known:
            trainings.judge(point)
        source = OptunaSource(config.sweep, trainings.judge, before=list(outcomes.values()))
        return _Task(config.sweep.trials, unfinished, len(known), source)
    return _Task(len(points), unfinished, len(known), ListSource(iter(points[len(known) :])))


def _run(
    config: RunConfig, task: _Task, watch: Watch, spec: TrialSpec, *, at_once: int, notes: Notes, uri: str
) -> None:
    """Have Ray Tune run what is left."""
    os.environ["TUNE_DISABLE_STRICT_METRIC_CHECKING"] = "1"  # some metrics come with a trial's last report
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # the command line draws its own
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"  # an interrupted sweep ends as every command does
    logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)  # it misses the loggers' files
    tune_uri = storage.join(uri, _TUNE)
    filesystem, path = storage.resolve(tune_uri)
    filesystem.create_dir(path, recursive=True)
    filesystem.delete_dir_contents(path)  # of an attempt before
    left = len(task.unfinished) + (_MOST_AT_ONCE if task.total is None else task.total - task.next_number)
    searcher = Points(
        task.source, notes, metric=config.sweep.metric, unfinished=task.unfinished, next_number=task.next_number
    )
    tuner = tune.Tuner(
        tune.with_resources(functools.partial(run_trial, spec=spec), _HEAD),
        tune_config=tune.TuneConfig(  # what is compared, searcher and scheduler know already
            search_alg=searcher,
            scheduler=scheduler_of(config, watch.outcomes.values(), stop=watch.stop),
            num_samples=left,
            max_concurrent_trials=at_once,
            reuse_actors=True,  # a process that has imported torch serves the next trial too
        ),
        run_config=tune.RunConfig(
            name="trials",
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=config.sweep.max_failures),
            callbacks=[watch],
            verbose=0,
        ),
    )
    tuner.fit()


def _result(config: RunConfig, name: str, uri: str, record: Record, watch: Watch) -> SweepResult:
    outcomes = [outcome for _, outcome in sorted(watch.outcomes.items())]
    finished = [outcome for outcome in outcomes if outcome.ending is Ending.FINISHED]
    if not finished:
        with forgiving("the end of the sweep"):
            record.finish("FAILED")
        raise UserError(f"no trial of sweep {name} finished: {'; '.join(sorted(set(watch.problems.values())))}")
    metric, sign = config.sweep.metric, 1 if config.sweep.best_is == "max" else -1
    best = max(finished, key=lambda outcome: sign * outcome.metrics[metric])
    analysis, plots = _analyse(config, finished, watch.trainings)
    content = {
        "name": name,
        "best": best.run_name,
        "metric": metric,
        "trials": [dataclasses.asdict(outcome) for outcome in outcomes],
        "problems": {str(number): problem for number, problem in sorted(watch.problems.items())},
        **analysis,
    }
    publish(uri, record, content, plots)
    with forgiving("the best of the sweep"):
        record.log_metrics({f"best/{metric}": best.metrics[metric], "trials": len(outcomes)}, step=0)
        record.set_tags({"best": best.run_name})
    if config.sweep.champion is not None:
        winner = trial_config(config, best.point)
        data_card = report(winner, progress=watch.progress).card_uri
        register(winner, config.sweep.champion, best.metrics, data_card=data_card, alias=CHAMPION)
    with forgiving("the end of the sweep"):
        record.finish("FINISHED")
    return SweepResult(name, uri, record.run_id, outcomes, watch.problems, best, analysis)


def _analyse(config: RunConfig, finished: list[Outcome], trainings: Trainings) -> tuple[dict[str, Any], dict[str, str]]:
    """What the recipe makes of the trials: JSON, and plots by file name."""
    match config.sweep.analysis:
        case Analysis.RANKING:
            return {}, {}
        case Analysis.ABLATION:
            table = ablation(config, finished)
            return {"ablation": ablation_json(table)}, ablation_plots(table)
        case Analysis.SCALING:
            points = [
                Study(outcome, trial_config(config, outcome.point), trainings.english_share(outcome.point))
                for outcome in finished
            ]
            return {"scaling": scaling(config, points)}, scaling_plots(config, points)
