"""Tasks: what `dataset.json` and `images.parquet` must hold for each, and how a model's embeddings are judged.

| task | dataset.json | columns of images.parquet |
|---|---|---|
| classification | `classes` (each a name, several or null) and `templates` by language | `label`, or `labels` |
| retrieval | `captions` by language: of each image its captions | |
| geometry | as retrieval; the first caption of an image counts | |
| multiple-choice | `questions` by form (`local`, `english`): of each image question and options | `label`, `language` |
| few-shot | `shots`: numbers of images of each class | `label`, `split`: train or test |

`multi_label` in dataset.json says that there are `labels`, of which one is enough. A task reads and checks its set when
it is made, before anything is embedded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import numpy as np
import torch

from metaclip_core.evaluation.classification import MANY_LABELS, ClassName, among_named, prompts, top_k_accuracy
from metaclip_core.evaluation.few_shot import few_shot
from metaclip_core.evaluation.geometry import geometry
from metaclip_core.evaluation.multiple_choice import choices, option_texts
from metaclip_core.evaluation.ranking import Tally
from metaclip_core.evaluation.retrieval import recall_at_k
from pipelines.embed import EmbeddedImages
from pipelines.errors import UserError
from pipelines.evaluation_sets import MEAN, EvaluationSet

Prompts = Mapping[str, Sequence[Sequence[str]]]
Findings = dict[str, dict[str, Tally | float]]  # language → measure → what was found

COUNTS = ("classes", "undecodable")  # measures that are no shares
GEOMETRY = ("alignment", "uniformity")  # how such measures begin, which are no shares either
HEADLINES = ("top1", "text_to_image_recall1", "image_to_text_recall1", "local", "english")  # shown, with intervals
_CLASSIFICATION_KS = (1, 5)
_RETRIEVAL_KS = (1, 5, 10)
_SEED = 0  # of the drawing of shots
_SPLITS = ("train", "test")


class Task(Protocol):
    """One set, read and found sound."""

    @property
    def prompts(self) -> Prompts:
        """Of which it needs the mean directions, under keys of its own."""

    @property
    def has_classes(self) -> bool:
        """Whether prompts are of classes by language, worth keeping."""

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:
        """What embeddings are worth: of its images, and [n, d] for each key of `prompts`."""


def is_headline(measure: str) -> bool:
    """Whether a measure is one of those that are shown first."""
    return measure in HEADLINES or measure.startswith("few_shot")


def task_of(dataset: EvaluationSet) -> Task:
    """The task of a set. Raises UserError where the set lacks what it needs, or holds what does not fit."""
    kinds: dict[object, type[Task]] = {
        "classification": _Classification,
        "retrieval": _Retrieval,
        "geometry": _Geometry,
        "multiple-choice": _MultipleChoice,
        "few-shot": _FewShot,
    }
    kind = dataset.content.get("task")
    if not isinstance(kind, str) or kind not in kinds:
        raise dataset.wrong(f"its task is {kind!r}; known are {', '.join(map(str, kinds))}")
    try:
        return kinds[kind](dataset)  # type: ignore[call-arg] # a protocol says nothing about construction
    except (KeyError, TypeError, AttributeError) as error:
        raise dataset.wrong(f"dataset.json is not as a {kind} set's: {type(error).__name__} {error}") from error


class _Classification:
    has_classes = True

    def __init__(self, dataset: EvaluationSet) -> None:
        classes: Mapping[str, Sequence[ClassName]] = dataset.content["classes"]
        templates: Mapping[str, Sequence[str]] = dataset.content["templates"]
        if not classes or len({len(names) for names in classes.values()}) != 1:
            numbers = ", ".join(f"{language} {len(names)}" for language, names in classes.items())
            raise dataset.wrong(
                f"its languages have different numbers of classes: {numbers}; one without a name is null"
            )
        self._num_classes = len(next(iter(classes.values())))
        self._labels = _labels(dataset, num_classes=self._num_classes)
        self.prompts: dict[str, list[list[str]]] = {}
        self._named: dict[str, list[int]] = {}  # of each language the classes that have a name
        for language, names in classes.items():
            if not templates.get(language):
                raise dataset.wrong(f"language {language} has class names and no templates")
            try:
                of_classes = [prompts(name, templates[language]) for name in names]
            except ValueError as error:
                raise dataset.wrong(f"language {language}: {error}") from error
            self._named[language] = [row for row, of_class in enumerate(of_classes) if of_class]
            self.prompts[language] = [of_class for of_class in of_classes if of_class]
            if not among_named(self._labels, self._named[language], self._num_classes)[0].any():
                raise dataset.wrong(f"no image of it belongs to a class that has a name in {language}")

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:
        return {language: self._of_language(images, classes, language) for language, classes in texts.items()}

    def _of_language(self, images: EmbeddedImages, classes: torch.Tensor, language: str) -> dict[str, Tally | float]:
        """Over the images of classes with a name in this language, among those classes (Babel-ImageNet)."""
        named = self._named[language]
        rows, labels = among_named(self._labels, named, self._num_classes)
        ks = [k for k in _CLASSIFICATION_KS if k < len(named)] or [1]
        accuracy = top_k_accuracy(images.embeddings[rows], classes, labels, ks=ks, decoded=images.decoded[rows])
        found: dict[str, Tally | float] = {f"top{k}": _spread(tally, rows) for k, tally in accuracy.top.items()}
        if accuracy.top_per_class:
            found["mean_per_class"] = accuracy.top_per_class[1]
        return found if len(named) == self._num_classes else found | {"classes": float(len(named))}


def _labels(dataset: EvaluationSet, *, num_classes: int) -> torch.Tensor:
    """int64 [n, l], filled up with MANY_LABELS."""
    several = "labels" if dataset.content.get("multi_label") else "label"
    column = dataset.images.column(several)
    lists = column if several == "labels" else [[label] for label in column]
    wrong = [
        row for row, labels in enumerate(lists) if not labels or not all(_fits(label, num_classes) for label in labels)
    ]
    if wrong:
        raise dataset.wrong(
            f"{len(wrong)} labels do not fit its {num_classes} classes, the first in row {wrong[0]}: {column[wrong[0]]}"
        )
    padded = torch.full((len(lists), max(map(len, lists))), MANY_LABELS)
    for row, labels in zip(padded, lists, strict=True):
        row[: len(labels)] = torch.tensor(labels)
    return padded


def _fits(label: object, num_classes: int) -> bool:
    return isinstance(label, int) and 0 <= label < num_classes


def _spread(tally: Tally, rows: torch.Tensor) -> Tally:
    """The tally of some images among all of the set; nothing is asked about the others."""
    right, asked = np.zeros(len(rows)), np.zeros(len(rows))
    right[rows.numpy()], asked[rows.numpy()] = tally.right, tally.asked
    return Tally(right, asked)


class _Captions:
    """Captions by language, of every image at least one."""

    has_classes = False

    def __init__(self, dataset: EvaluationSet) -> None:
        self._captions: Mapping[str, Sequence[Sequence[str]]] = dataset.content["captions"]
        if not self._captions:
            raise dataset.wrong("it has no captions")
        for language, of_images in self._captions.items():
            if len(of_images) != dataset.images.num_images:
                raise dataset.wrong(
                    f"{language} has captions of {len(of_images)} images, and there are {dataset.images.num_images}"
                )
            without = [row for row, captions in enumerate(of_images) if not captions or isinstance(captions, str)]
            if without:
                raise dataset.wrong(
                    f"{len(without)} images have no list of captions in {language}, the first is row {without[0]}"
                )


class _Retrieval(_Captions):
    def __init__(self, dataset: EvaluationSet) -> None:
        super().__init__(dataset)
        self.prompts = {
            language: [[caption] for captions in of_images for caption in captions]
            for language, of_images in self._captions.items()
        }

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:
        found: Findings = {}
        for language, of_images in self._captions.items():
            owner = torch.tensor([image for image, captions in enumerate(of_images) for _ in captions])
            recall = recall_at_k(images.embeddings, texts[language], owner, ks=_RETRIEVAL_KS, decoded=images.decoded)
            found[language] = {f"image_to_text_recall{k}": tally for k, tally in recall.image_to_text.items()}
            found[language] |= {f"text_to_image_recall{k}": tally for k, tally in recall.text_to_image.items()}
        return found


class _Geometry(_Captions):
    def __init__(self, dataset: EvaluationSet) -> None:
        super().__init__(dataset)
        self.prompts = {
            language: [captions[:1] for captions in of_images] for language, of_images in self._captions.items()
        }

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:
        return {language: dict(pair_geometry(images, of_language)) for language, of_language in texts.items()}


def pair_geometry(images: EmbeddedImages, texts: torch.Tensor) -> dict[str, float]:
    """Alignment and uniformity of the pairs whose image decoded; none where there are fewer than two."""
    if images.decoded.sum() < 2:  # noqa: PLR2004 - a distance needs two
        return {}
    return vars(geometry(images.embeddings[images.decoded], texts[images.decoded]))


class _MultipleChoice:
    has_classes = False

    def __init__(self, dataset: EvaluationSet) -> None:
        self._languages = np.array([str(language) for language in dataset.images.column("language")])
        self._answers: list[int] = dataset.images.column("label")
        forms: Mapping[str, Sequence[Mapping[str, object]]] = dataset.content["questions"]
        self._options: dict[str, list[list[str]]] = {}
        for form, questions in forms.items():
            if len(questions) != dataset.images.num_images:
                raise dataset.wrong(
                    f"{form} has {len(questions)} questions, and there are {dataset.images.num_images} images"
                )
            self._options[form] = [
                option_texts(str(question["question"]), [str(option) for option in question["options"]])  # type: ignore[attr-defined]
                for question in questions
            ]
            for row, (answer, options) in enumerate(zip(self._answers, self._options[form], strict=True)):
                if not _fits(answer, len(options)):
                    raise dataset.wrong(f"the answer of question {row} is {answer}, and it has {len(options)} options")

        self.prompts = {
            form: [[text] for of_row in options for text in of_row] for form, options in self._options.items()
        }

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:
        found: Findings = {language: {} for language in sorted(set(self._languages))}
        for form, options in self._options.items():
            split = torch.split(texts[form], [len(of_row) for of_row in options])
            tally = choices(images.embeddings, split, self._answers, decoded=images.decoded)
            for language in found:
                asked = (self._languages == language).astype(np.float64)
                found[language][form] = Tally(tally.right * asked, asked)
        return found


class _FewShot:
    has_classes = False
    prompts: Prompts = MappingProxyType({})

    def __init__(self, dataset: EvaluationSet) -> None:
        self._shots: Sequence[int] = dataset.content["shots"]
        splits = dataset.images.column("split")
        strange = sorted({str(split) for split in splits} - set(_SPLITS))
        labels = dataset.images.column("label")
        if strange:
            raise dataset.wrong(f"the column split holds {strange[0]!r}; known are train and test")
        if not all(isinstance(label, int) and label >= 0 for label in labels):
            raise dataset.wrong("a label is no number of at least 0")
        self._labels = np.array(labels, np.int64)
        self._train, self._test = (np.array([split == name for split in splits]) for name in _SPLITS)
        taught = set(self._labels[self._train].tolist())
        strangers = sorted(set(self._labels[self._test].tolist()) - taught)
        if len(taught) < 2 or not self._test.any() or strangers:  # noqa: PLR2004 - a class against another
            raise dataset.wrong(
                f"a few-shot set needs train images of two classes, and of each that is tested: {strangers[:5]}"
            )

    def measure(self, images: EmbeddedImages, texts: Mapping[str, torch.Tensor]) -> Findings:  # noqa: ARG002 - a task's interface
        embeddings, decoded = images.embeddings.numpy(), images.decoded.numpy()
        train = self._train & decoded
        found: dict[str, Tally | float] = {}
        for shots in self._shots:
            if len(np.unique(self._labels[train])) < 2:  # noqa: PLR2004 - nothing is left to learn from
                found[f"few_shot{shots}"] = Tally(np.zeros(self._test.sum()), np.ones(self._test.sum()))
                continue
            tally = few_shot(
                embeddings[train], self._labels[train], embeddings[self._test], self._labels[self._test],
                shots=shots, seed=_SEED,
            )  # fmt: skip
            found[f"few_shot{shots}"] = Tally(tally.right * decoded[self._test], tally.asked)
        return {MEAN: found}


def checked_tasks(datasets: Sequence[EvaluationSet]) -> list[tuple[EvaluationSet, Task]]:
    """The tasks of some sets. Raises UserError, as `task_of`; or two sets have the same name."""
    names = [dataset.name for dataset in datasets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"two evaluation sets are named {twice[0]}: metrics could not tell them apart")
    return [(dataset, task_of(dataset)) for dataset in datasets]
