"""What a model is worth on the recipe's evaluation sets, embedded through Ray Data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipelines import storage
from pipelines.class_names import ClassNames
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.confusions import Confusions
from pipelines.embed import DataEmbedder
from pipelines.errors import UserError
from pipelines.evaluation_sets import load_sets
from pipelines.measures import View, measure_sets
from pipelines.models import check_model, model_digest, model_name
from pipelines.panels import Panels
from pipelines.runs import TrainResult, load_record, load_result
from pipelines.shards import Progress
from pipelines.tasks import checked_tasks


@dataclass(frozen=True)
class Evaluation:
    """A model and its metrics by name, as kept under the root."""

    name: str  # for tables
    model: str
    samples_seen: int | None  # in training; None: of a model from elsewhere
    metrics: Mapping[str, float]


def evaluate_run(config: RunConfig, *, progress: Progress) -> dict[str, float]:
    """Metrics of the recipe's finished run, also into its record and beside it.

    Raises:
        UserError: the run is not finished, or there is no such set.
    """
    result = load_result(config)
    panels, confusions = Panels(), Confusions()
    metrics = _evaluate(config, result.model_uri, progress=progress, views=[panels, confusions])
    views = {"panels": panels.content(), "confusions": confusions.content()}
    storage.write_json(_views_uri(config, result.run_name), views)
    _keep(config, Evaluation(result.run_name, result.model_uri, result.samples_seen, metrics))
    storage.write_json(_metrics_uri(config, result.run_name), metrics)
    load_record(config, result).log_metrics(metrics, step=config.training.steps)
    return metrics


def load_metrics(config: RunConfig, result: TrainResult) -> dict[str, float] | None:
    """What `evaluate_run` found, or None before it ran."""
    try:
        return dict(storage.read_json(_metrics_uri(config, result.run_name)))
    except FileNotFoundError:
        return None


def load_views(config: RunConfig, result: TrainResult) -> dict[str, list[dict[str, Any]]]:
    """What `evaluate_run` found worth a look: JSON of `panels` and `confusions`; nothing before it ran."""
    try:
        return dict(storage.read_json(_views_uri(config, result.run_name)))
    except FileNotFoundError:
        return {}


def _views_uri(config: RunConfig, run_name: str) -> str:
    return storage.join(storage.Layout(config.root).run(run_name), "views.json")


def _metrics_uri(config: RunConfig, run_name: str) -> str:
    return storage.join(storage.Layout(config.root).run(run_name), "evaluation.json")


def evaluate_model(config: RunConfig, model: str, *, progress: Progress) -> dict[str, float]:
    """Metrics of a model on the recipe's evaluation sets, by name. Connects to Ray where nobody has yet.

    Raises:
        UserError: there is no such model or set, or one that does not fit.
    """
    metrics = _evaluate(config, model, progress=progress)
    _keep(config, Evaluation(model_name(model), model, None, metrics))
    return metrics


def _evaluate(config: RunConfig, model: str, *, progress: Progress, views: Sequence[View] = ()) -> dict[str, float]:
    check_model(model)
    tasks = checked_tasks(load_sets(config))
    if not tasks:
        raise UserError("evaluation.sets is empty: name at least one folder")
    class_names = ClassNames(config.root, model_digest=model_digest(model))
    with connected(config.compute):
        return measure_sets(
            tasks,
            DataEmbedder(model, batch_rows=config.evaluation.batch_rows, compute=config.compute),
            resamples=config.evaluation.resamples,
            progress=progress,
            class_names=class_names,
            views=views,
        )


def _keep(config: RunConfig, evaluation: Evaluation) -> None:
    """The last evaluation of a model on each set stays."""
    folder = storage.Layout(config.root).evaluations()
    uri = storage.join(folder, f"{storage.version_of('evaluation', 1, model=evaluation.model)}.json")
    try:
        before = storage.read_json(uri)["metrics"]
    except FileNotFoundError:
        before = {}
    measured = {name.split("/")[1] for name in evaluation.metrics}
    others = {name: value for name, value in before.items() if name.split("/")[1] not in measured}
    storage.write_json(uri, {**asdict(evaluation), "metrics": others | dict(evaluation.metrics)})


def load_evaluations(config: RunConfig) -> list[Evaluation]:
    """All that was evaluated under the root, by name."""
    folder = storage.Layout(config.root).evaluations()
    found = [Evaluation(**storage.read_json(storage.join(folder, name))) for name in sorted(storage.list_names(folder))]
    return sorted(found, key=lambda evaluation: (evaluation.name, evaluation.model))
