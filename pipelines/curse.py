"""The curse report: does more world cost English? All that was evaluated under a root, English against the others.

Each model is a row: trained runs with the checkpoints that were tried beside their training, as MLflow holds them, and
models from elsewhere. A set gives English, other languages, or both; the means over sets are what the plot shows.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from metaclip_core.balancing import ENGLISH
from metaclip_core.plots import curse_paths
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.evaluate import Evaluation, load_evaluations
from pipelines.evaluation_sets import MEAN
from pipelines.pages import template
from pipelines.runs import read_begun
from pipelines.tasks import HEADLINES
from pipelines.tracking import Record, tracking_uri

_REPORT = "curse"
_FORMS = ("english", "local")  # of multiple choice: the same questions in English and as they were asked


@dataclass(frozen=True)
class Score:
    """Of one set, or on average over sets; shares in [0, 1], None where it has no such language."""

    english: float | None
    others: float | None  # the mean over the other languages
    num_others: int


@dataclass(frozen=True)
class Row:
    """A model, or one of its checkpoints."""

    name: str
    step: int | None  # of a checkpoint; None: the model as it is
    samples_seen: int | None
    scores: Mapping[str, Score]  # by set
    mean: Score  # over sets


@dataclass(frozen=True)
class Curse:
    """All rows and where their page is."""

    rows: list[Row]
    page_uri: str


def curse(config: RunConfig) -> Curse:
    """Write the report of all that was evaluated under the root.

    Raises:
        UserError: nothing was.
    """
    evaluations = load_evaluations(config)
    if not evaluations:
        raise UserError(f"nothing was evaluated under {config.root}: run `metaclip evaluate` on a model or two first")
    rows = [row for evaluation in evaluations for row in _rows(config, evaluation)]
    uri = storage.join(storage.Layout(config.root).report(_REPORT), "index.html")
    storage.write_bytes(uri, curse_page(rows).encode())
    return Curse(rows, uri)


def curse_page(rows: Sequence[Row]) -> str:
    """The page, which stands alone."""
    paths: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        if row.mean.english is not None and row.mean.others is not None:
            paths.setdefault(row.name, []).append((row.mean.english, row.mean.others))
    sets = list(dict.fromkeys(name for row in rows for name in row.scores))
    plot = Markup(curse_paths(paths)) if paths else None  # noqa: S704 - matplotlib has escaped its texts
    return template("curse.html").render(rows=rows, sets=sets, plot=plot)


def scores_of(metrics: Mapping[str, float]) -> dict[str, Score]:
    """English against the others on each set, by the first measure of HEADLINES that it has."""
    sets: dict[str, dict[str, dict[str, float]]] = {}  # set → measure → language → share
    for name, value in metrics.items():
        _, dataset, language, measure = name.split("/")
        sets.setdefault(dataset, {}).setdefault(measure, {})[language] = value
    found = {}
    for dataset, measures in sets.items():
        if set(_FORMS) <= measures.keys():
            english, local = (measures[form][MEAN] for form in _FORMS)
            found[dataset] = Score(english, local, len(measures[_FORMS[1]]) - 1)
            continue
        first = next((measure for measure in HEADLINES if measure in measures), None)
        if first is not None:
            others = [value for language, value in measures[first].items() if language not in (ENGLISH, MEAN)]
            found[dataset] = Score(
                measures[first].get(ENGLISH), statistics.fmean(others) if others else None, len(others)
            )
    return {name: score for name, score in found.items() if score.english is not None or score.num_others}


def _rows(config: RunConfig, evaluation: Evaluation) -> list[Row]:
    """Its checkpoints, then the model as it is."""
    checkpoints = [
        _row(evaluation.name, metrics, step=step, samples_seen=None)
        for step, metrics in sorted(_history(config, evaluation).items())
    ]
    last = _row(evaluation.name, evaluation.metrics, step=None, samples_seen=evaluation.samples_seen)
    return [*(row for row in checkpoints if row.scores), last]


def _history(config: RunConfig, evaluation: Evaluation) -> dict[int, dict[str, float]]:
    """What checkpoints of a run were worth, by step, but for the last; nothing of a model from elsewhere."""
    if evaluation.samples_seen is None:
        return {}
    run_uri = storage.Layout(config.root).run(evaluation.name)
    try:
        run = read_begun(run_uri)
    except FileNotFoundError:
        return {}
    record = Record(tracking_uri(config.tracking), run["mlflow_run_id"])
    names = [name for name in evaluation.metrics if name.rsplit("/", 1)[-1] in HEADLINES]
    last = run["config"]["training"]["steps"]
    return {step: metrics for step, metrics in record.history(names).items() if step != last}


def _row(name: str, metrics: Mapping[str, float], *, step: int | None, samples_seen: int | None) -> Row:
    scores = scores_of(metrics)
    english = [score.english for score in scores.values() if score.english is not None]
    others = [score.others for score in scores.values() if score.others is not None]
    mean = Score(
        statistics.fmean(english) if english else None, statistics.fmean(others) if others else None, len(others)
    )
    return Row(name, step, samples_seen, scores, mean)
