"""Metrics of evaluation sets, by name: per language, their mean over languages, and intervals of what is shown first.

Images that do not decode are wrong answers, stay in the denominator, and are counted: `eval/<set>/mean/undecodable`.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
import torch

from metaclip_core.evaluation.bootstrap import percentile_interval, resampled_shares
from metaclip_core.evaluation.ranking import Tally
from pipelines.class_names import ClassNames
from pipelines.embed import Embedded, EmbeddedImages
from pipelines.evaluation_sets import MEAN, EvaluationSet, StoredImages, metric_name
from pipelines.shards import Progress
from pipelines.tasks import Findings, Task, is_headline

LOW, HIGH = "_low", "_high"  # ends of a measure's 95 % interval
UNDECODABLE = "undecodable"
_SEED = 0


class Embedder(Protocol):
    """Embeds with one model."""

    def embed(self, files: Sequence[StoredImages], prompts: Sequence[Sequence[str]], *, progress: Progress) -> Embedded:
        """All images of some files and all prompts."""


class View(Protocol):
    """Collects what of an evaluation is worth a look."""

    def add(self, dataset: EvaluationSet, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> None:
        """What it takes of a set: of its images, and of its prompts by key."""


def measure_sets(
    tasks: Sequence[tuple[EvaluationSet, Task]],
    embedder: Embedder,
    *,
    resamples: int,
    progress: Progress,
    class_names: ClassNames | None = None,
    views: Sequence[View] = (),
) -> dict[str, float]:
    """Metrics of what a model embeds, by name.

    Args:
        tasks: sets that were read, see `tasks.checked_tasks`.
        embedder: the model; asked once, for all sets.
        resamples: of the bootstrap; 0: no intervals.
        progress: is told of rows that are embedded, and of sets.
        class_names: those of the model that are kept; None: none are.
        views: are shown every set.
    """
    known = [_known(task, class_names) for _, task in tasks]
    missing = [
        (task, key) for (_, task), texts in zip(tasks, known, strict=True) for key in task.prompts if key not in texts
    ]
    prompts = list(chain.from_iterable(task.prompts[key] for task, key in missing))
    embedded = embedder.embed([dataset.images for dataset, _ in tasks], prompts, progress=progress)
    found = dict(zip([(id(task), key) for task, key in missing], _split(embedded.prompts, missing), strict=True))
    metrics: dict[str, float] = {}
    for done, ((dataset, task), images, texts) in enumerate(zip(tasks, embedded.images, known, strict=True)):
        progress("evaluate", done, len(tasks))
        fresh = {key: found[id(task), key] for key in task.prompts if key not in texts}
        if class_names is not None and task.has_classes:
            class_names.write({key: task.prompts[key] for key in fresh}, fresh)
        every = texts | fresh
        ordered = {key: every[key] for key in task.prompts}
        findings = task.measure(images, ordered)
        for view in views:
            view.add(dataset, images, ordered)
        metrics |= named_metrics(dataset.name, findings, resamples=resamples)
        metrics[metric_name(dataset.name, MEAN, UNDECODABLE)] = float((~images.decoded).sum())
    progress("evaluate", len(tasks), len(tasks))
    return metrics


def metric_names(dataset: EvaluationSet, task: Task) -> set[str]:
    """The names that `measure_sets` finds for a set, intervals left out: those of a model that embeds all alike."""
    num_images = dataset.images.num_images
    images = EmbeddedImages(torch.ones(num_images, 1), torch.ones(num_images, dtype=torch.bool))
    texts = {key: torch.ones(len(prompts), 1) for key, prompts in task.prompts.items()}
    found = named_metrics(dataset.name, task.measure(images, texts), resamples=0)
    return {*found, metric_name(dataset.name, MEAN, UNDECODABLE)}


def _known(task: Task, class_names: ClassNames | None) -> dict[str, torch.Tensor]:
    return {} if class_names is None or not task.has_classes else class_names.read(task.prompts)


def _split(embeddings: torch.Tensor, asked: Sequence[tuple[Task, str]]) -> Sequence[torch.Tensor]:
    return torch.split(embeddings, [len(task.prompts[key]) for task, key in asked]) if asked else []


def named_metrics(dataset: str, findings: Findings, *, resamples: int) -> dict[str, float]:
    """By name, with the mean over the languages that have a measure; the interval of a mean is its own."""
    metrics: dict[str, float] = {}
    for language, measures in findings.items():
        for measure, value in measures.items():
            metrics[metric_name(dataset, language, measure)] = value.share if isinstance(value, Tally) else value
    for measure in dict.fromkeys(measure for measures in findings.values() for measure in measures):
        found = {language: measures[measure] for language, measures in findings.items() if measure in measures}
        if MEAN not in found:
            values = [metrics[metric_name(dataset, language, measure)] for language in found]
            metrics[metric_name(dataset, MEAN, measure)] = statistics.fmean(values)
        tallies = {language: value for language, value in found.items() if isinstance(value, Tally)}
        if resamples and tallies and is_headline(measure):
            metrics |= _intervals(dataset, measure, tallies, resamples=resamples)
    return metrics


def _intervals(dataset: str, measure: str, tallies: dict[str, Tally], *, resamples: int) -> dict[str, float]:
    shares = resampled_shares(list(tallies.values()), resamples=resamples, seed=_SEED)
    columns = dict(zip(tallies, shares.T, strict=True))
    if MEAN not in columns:
        columns[MEAN] = np.nanmean(shares, axis=1)
    metrics: dict[str, float] = {}
    for language, of_language in columns.items():
        interval = percentile_interval(of_language)
        metrics[metric_name(dataset, language, measure + LOW)] = interval.low
        metrics[metric_name(dataset, language, measure + HIGH)] = interval.high
    return metrics
