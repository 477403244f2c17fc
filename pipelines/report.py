"""One page that shows what was curated, drawn and learnt. It stands alone: no script, no outside asset, no date.

Language names, reasons and metrics come from the web or from files of others: the template escapes all of them, and
only the plots, made here, go in as they are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from urllib.parse import quote

import numpy as np
import yaml
from markupsafe import Markup

from metaclip_core.balancing import ENGLISH
from metaclip_core.plots import confusion_matrix, entry_curve, language_bars, share_shift
from metaclip_core.records import Stage, classifier_stage
from pipelines import storage
from pipelines.card import write_card
from pipelines.config import RunConfig
from pipelines.curate import CurationResult, LanguageRow, data_set, language_table, load_curation
from pipelines.errors import UserError
from pipelines.evaluate import load_metrics, load_views
from pipelines.evaluation_sets import MEAN, EvaluationSet, metric_name
from pipelines.measures import HIGH, LOW
from pipelines.pages import ABOUT_STAGES, template, without_secrets, words
from pipelines.runs import TrainResult, load_record, load_result
from pipelines.shards import Progress
from pipelines.tasks import COUNTS, GEOMETRY, HEADLINES
from pipelines.tracking import record_card

_PLOTTED_LANGUAGES = 40
_PLOTTED_CURVES = 6
_CLASSIFICATION = "top1"


@dataclass(frozen=True)
class Reports:
    """The pages that were written."""

    card_uri: str
    run_uri: str | None  # None: no run is finished


def report(config: RunConfig, *, progress: Progress) -> Reports:
    """Write the data card of the recipe's curation, and the page of its run where one is finished; record both.

    Raises:
        UserError: the pool is not curated, or the tracking server does not answer.
    """
    curation = load_curation(config)
    card = write_card(config, curation, progress=progress)
    with storage.local_copy(card.folder_uri) as folder:
        record_card(config.tracking, data_set(curation), folder)
    try:
        training = load_result(config)
    except UserError:  # the curation is there, so it is the run that is not finished
        return Reports(card.page_uri, None)
    metrics = load_metrics(config, training)
    views = load_views(config, training)
    uri = write_report(config, curation, training=training, metrics=metrics, views=views, card_uri=card.page_uri)
    record = load_record(config, training)
    for folder_uri, name in ((uri.rsplit("/", 1)[0], "report"), (card.folder_uri, card.name)):  # the link leads there
        with storage.local_copy(folder_uri) as folder:
            record.log_folder(folder, name)
    return Reports(card.page_uri, uri)


def write_report(
    config: RunConfig,
    curation: CurationResult,
    *,
    training: TrainResult,
    metrics: Mapping[str, float] | None,
    views: Mapping[str, Sequence[Mapping[str, Any]]],
    card_uri: str,
) -> str:
    """Publish the page, and its plots as files; its URI. The same input gives the same bytes.

    Args:
        config: the recipe; its evaluation sets, where they can be read, give the levels of chance.
        curation: what was curated.
        training: a finished run.
        metrics: values in [0, 1] by `metric_name`, or None before the evaluation; other names are left out.
        views: what there is to look at, as `evaluate.load_views` has it.
        card_uri: the page of the data card, below the same root.
    """
    uri = storage.join(storage.Layout(config.root).report(training.run_name), "index.html")
    languages = _languages(curation)
    shift, curves = _shift(languages), _curves(curation)
    evaluation = _evaluation(config, metrics or {}, [language.row.language for language in languages])
    confusions = [_confusion(one) for one in views.get("confusions", [])]
    page = template("report.html").render(
        name=training.run_name,
        card=quote(posixpath.relpath(card_uri, posixpath.dirname(uri))),
        config=config,
        curation=curation,
        training=training,
        drawn=sum(curation.expected.values()),
        english=next((language for language in languages if language.row.language == ENGLISH), None),
        stage=Stage,
        about_stages=_about_stages(config),
        funnel_lines=curation.funnel.to_records(),
        languages=languages,
        plotted_languages=_PLOTTED_LANGUAGES,
        shift=shift,
        curves=curves,
        evaluation=evaluation,
        confusions=confusions,
        mean=MEAN,
        panels=views.get("panels", []),
        configuration=yaml.safe_dump(without_secrets(config.model_dump(mode="json")), sort_keys=False, width=1000),
    )
    storage.write_bytes(uri, page.encode())
    plots: dict[str, str] = {"languages": shift} if shift else {}
    plots |= {f"head and tail {curve.title}": curve.svg for curve in curves}
    plots |= {plot.title: plot.svg for plot in evaluation.plots}
    plots |= {f"confusion {plot.title}": plot.svg for plot in confusions}
    plots |= {f"panel {one['dataset']} {one['language']}": _panel(one) for one in views.get("panels", [])}
    for title, svg in plots.items():
        name = re.sub(r"\W+", "-", title.lower()).strip("-")
        storage.write_bytes(storage.join(posixpath.dirname(uri), "plots", f"{name}.svg"), str(svg).encode())
    return uri


def _about_stages(config: RunConfig) -> dict[str, str]:
    about = {str(stage): what for stage, what in ABOUT_STAGES.items()}
    for classifier in config.curation.classifiers:
        limit = "≥" if classifier.drop_above is None else "≤"
        threshold = classifier.drop_below if classifier.drop_above is None else classifier.drop_above
        about[classifier_stage(classifier.name)] = f"pairs → pairs with a score {limit} {threshold:g}"
    return about


@dataclass(frozen=True)
class _Language:
    """A row of the languages, with its share of all captions and of all pairs that are drawn."""

    row: LanguageRow
    before: float
    after: float


def _languages(curation: CurationResult) -> list[_Language]:
    rows = language_table(curation)
    captions, drawn = sum(row.captions for row in rows), sum(curation.expected.values())
    return [_Language(row, row.captions / max(captions, 1), row.expected / drawn if drawn else 0.0) for row in rows]


def _shift(languages: list[_Language]) -> Markup | None:
    shares = {row.row.language: (row.before, row.after) for row in languages[:_PLOTTED_LANGUAGES] if row.before}
    return _safe(share_shift(shares, highlight=ENGLISH)) if shares else None


@dataclass(frozen=True)
class _Plot:
    title: str
    svg: Markup


def _curves(curation: CurationResult) -> list[_Plot]:
    """The largest languages that have a threshold, on common axes."""
    matches, t = curation.counts.matches, curation.thresholds.t
    rows = [row.language for row in language_table(curation) if row.language in t][:_PLOTTED_CURVES]
    max_rank = max((int((matches[language] > 0).sum()) for language in rows), default=1)
    max_count = max((max(int(matches[language].max()), t[language]) for language in rows), default=1)
    return [
        _Plot(
            language,
            _safe(entry_curve(matches[language], t=t[language], max_rank=max_rank, max_count=max_count)),
        )
        for language in rows
    ]


def _confusion(found: Mapping[str, Any]) -> _Plot:
    counts = np.array(found["counts"], np.float64)
    svg = confusion_matrix(counts / np.maximum(counts.sum(axis=1, keepdims=True), 1), found["classes"])
    shown, every = len(found["classes"]), found["num_classes"]
    told = f", the {shown} of {every} classes with most mistakes" if shown < every else ""
    return _Plot(f"{found['dataset']}, {found['language']}{told}", _safe(svg))


def _panel(found: Mapping[str, Any]) -> str:
    """A panel as an image of its own, for where the page is not."""
    return template("panel.svg").render(panel=found)


@dataclass(frozen=True)
class _Cell:
    """A value with the ends of its interval; None where there is none."""

    value: float | None
    low: float | None
    high: float | None
    is_share: bool


def _is_share(measure: str) -> bool:
    return measure not in COUNTS and not measure.startswith(GEOMETRY)


@dataclass(frozen=True)
class _Evaluation:
    """All measures: `columns` are (set, its measures), `rows` are (language, a cell for each measure)."""

    plots: list[_Plot]
    columns: list[tuple[str, list[str]]]
    rows: list[tuple[str, list[_Cell]]]


def _evaluation(config: RunConfig, metrics: Mapping[str, float], by_size: list[str]) -> _Evaluation:
    """Languages stand in the order of the pool, those that it lacks at the end, the mean before all."""
    sets: dict[str, dict[str, dict[str, float]]] = {}  # set → measure → language → value
    for name, value in metrics.items():
        parts = name.split("/")[1:]
        if len(parts) == 3 and metric_name(*parts) == name:  # noqa: PLR2004 - its arguments
            dataset, language, measure = parts
            if not measure.endswith((LOW, HIGH)):
                sets.setdefault(dataset, {}).setdefault(measure, {})[language] = value
    order = {language: place for place, language in enumerate([MEAN, *by_size])}
    measured = [of_measure for of_set in sets.values() for of_measure in of_set.values()]
    languages = sorted({*chain(*measured)}, key=lambda language: (order.get(language, len(order)), language))
    return _Evaluation(
        plots=_accuracy_plots(sets, languages, _chance(config) if sets else {}),
        columns=[(dataset, list(of_set)) for dataset, of_set in sets.items()],
        rows=[
            (
                language,
                [
                    _Cell(
                        of_measure.get(language),
                        low=metrics.get(metric_name(dataset, language, measure + LOW)),
                        high=metrics.get(metric_name(dataset, language, measure + HIGH)),
                        is_share=_is_share(measure),
                    )
                    for dataset, of_set in sets.items()
                    for measure, of_measure in of_set.items()
                ],
            )
            for language in languages
        ],
    )


def _accuracy_plots(
    sets: Mapping[str, Mapping[str, Mapping[str, float]]], languages: list[str], chance: Mapping[str, float]
) -> list[_Plot]:
    """The main measure of each set, for the first of `languages`."""
    plots = []
    for dataset, of_set in sets.items():
        for measure in [name for name in HEADLINES if name in of_set][:1]:
            shares = {name: of_set[measure][name] for name in languages if name in of_set[measure]}
            mean = shares.pop(MEAN, None)
            if not shares:
                continue
            svg = language_bars(
                dict(islice(shares.items(), _PLOTTED_LANGUAGES)),
                highlight=ENGLISH,
                mean=mean,
                chance=chance.get(dataset) if measure == _CLASSIFICATION else None,
            )
            plots.append(_Plot(f"{dataset}: {words(measure)}", _safe(svg)))
    return plots


def _chance(config: RunConfig) -> dict[str, float]:
    """What a guess is right at, for each classification set of the recipe that lies where the recipe says."""
    levels = {}
    for uri in config.evaluation.sets:
        try:
            dataset = EvaluationSet.load(storage.absolute(uri, base=config.root))
        except UserError:  # a page may be made where the sets are not
            continue
        if classes := dataset.content.get("classes"):
            levels[dataset.name] = 1 / max(1, *map(len, classes.values()))
    return levels


def _safe(svg: str) -> Markup:
    """A plot: matplotlib has escaped its texts."""
    return Markup(svg)  # noqa: S704
