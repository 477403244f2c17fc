import re

import numpy as np
import pytest
import torch

from pipelines.embed import LocalEmbedder
from pipelines.errors import UserError
from pipelines.evaluation_sets import EvaluationSet
from pipelines.measures import measure_sets, metric_names
from pipelines.tasks import checked_tasks, task_of
from tests.evaluation_sets import BROKEN, classification, picture, write_model, write_set


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return LocalEmbedder(write_model(tmp_path_factory.mktemp("model")), batch_rows=3, threads=1)


def measured(uri, embedder, *, resamples=0):
    tasks = checked_tasks([EvaluationSet.load(uri)])
    metrics = measure_sets(tasks, embedder, resamples=resamples, progress=lambda *_: None)
    foretold = metric_names(*tasks[0])
    assert {name for name in metrics if not name.endswith(("_low", "_high"))} <= foretold
    return metrics


def test_classification_is_over_the_classes_with_a_name_and_the_images_of_these(tmp_path, embedder):
    labels = [0, 1, 2, 0, 1, 2, 0, 1]
    dataset = EvaluationSet.load(write_set(tmp_path / "things", classification(), label=labels))
    metrics = measured(dataset.uri, embedder)
    images = embedder.embed([dataset.images], []).images[0].embeddings
    english = embedder.prompts([["one", "a one"], ["two", "a two"], ["three", "a three"]])
    right = ((images @ english.T).argmax(1) == torch.tensor(labels)).double()
    assert metrics["eval/things/en/top1"] == right.mean().item()
    german = embedder.prompts([["eins"], ["zwei", "zwo"]])
    rows = [row for row, label in enumerate(labels) if label < 2]
    right = ((images[rows] @ german.T).argmax(1) == torch.tensor(labels)[rows]).double()
    assert metrics["eval/things/de/top1"] == right.mean().item()
    assert metrics["eval/things/de/classes"] == 2
    assert "eval/things/en/classes" not in metrics
    both = metrics["eval/things/en/top1"], metrics["eval/things/de/top1"]
    assert metrics["eval/things/mean/top1"] == pytest.approx(np.mean(both))
    assert metrics["eval/things/mean/undecodable"] == 0


def test_images_that_do_not_decode_are_wrong_stay_in_the_denominator_and_are_counted(tmp_path, embedder):
    content = classification(classes={"en": ["one"]}, templates={"en": ["{}"]})  # whoever is asked is right
    uri = write_set(tmp_path / "things", content, label=[0] * 4, image=[picture(0), BROKEN, None, picture(1)])
    metrics = measured(uri, embedder)
    assert metrics["eval/things/en/top1"] == 0.5
    assert metrics["eval/things/en/mean_per_class"] == 0.5
    assert metrics["eval/things/mean/undecodable"] == 2


def test_several_labels_need_one_of_them(tmp_path, embedder):
    content = classification(multi_label=True)
    uri = write_set(tmp_path / "street", content, labels=[[0, 1, 2], [0, 1, 2], [2, 0, 1]])
    metrics = measured(uri, embedder)
    assert metrics["eval/street/en/top1"] == metrics["eval/street/de/top1"] == 1
    assert "eval/street/en/mean_per_class" not in metrics


def test_retrieval_finds_captions_and_images_per_language(tmp_path, embedder):
    captions = {"en": [["a", "b"], ["c"], ["d", "e", "f"]], "ja": [["七"], ["八"], ["九"]]}
    dataset = EvaluationSet.load(write_set(tmp_path / "r", {"task": "retrieval", "captions": captions}, id=[0, 1, 2]))
    metrics = measured(dataset.uri, embedder)
    images = embedder.embed([dataset.images], []).images[0].embeddings
    texts = embedder.prompts([[text] for texts in captions["en"] for text in texts])
    owner = torch.tensor([0, 0, 1, 2, 2, 2])
    assert metrics["eval/r/en/image_to_text_recall1"] == pytest.approx(
        (owner[(images @ texts.T).argmax(1)] == torch.arange(3)).double().mean().item()
    )
    assert metrics["eval/r/en/text_to_image_recall1"] == pytest.approx(
        ((texts @ images.T).argmax(1) == owner).double().mean().item()
    )
    assert metrics["eval/r/ja/text_to_image_recall10"] == 1
    assert {"eval/r/mean/image_to_text_recall5", "eval/r/mean/text_to_image_recall10"} <= metrics.keys()


def test_geometry_is_of_each_image_and_its_first_caption(tmp_path, embedder):
    captions = {"en": [["a", "b"], ["c"], ["d"]]}
    columns = {"image": [picture(0), BROKEN, picture(2)]}
    uri = write_set(tmp_path / "g", {"task": "geometry", "captions": captions}, **columns)
    metrics = measured(uri, embedder)
    images = embedder.embed([EvaluationSet.load(uri).images], []).images[0].embeddings
    texts = embedder.prompts([["a"], ["c"], ["d"]])
    expected = (images[[0, 2]] - texts[[0, 2]]).pow(2).sum(1).mean().item()
    assert metrics["eval/g/en/alignment"] == pytest.approx(expected)
    assert metrics["eval/g/en/uniformity_images"] < 0


def multiple_choice(**changes):
    local = [{"question": "何?", "options": ["七", "八"]}, {"question": "nani?", "options": ["a", "b", "c"]}]
    english = [{"question": "what?", "options": ["7", "8"]}, {"question": "what?", "options": ["a", "b", "c"]}]
    return {"task": "multiple-choice", "questions": {"local": local, "english": english}} | changes


def test_multiple_choice_is_answered_in_both_forms_and_told_by_language(tmp_path, embedder):
    columns = {"label": [1, 2], "language": ["japanese-japan", "romaji-japan"]}
    dataset = EvaluationSet.load(write_set(tmp_path / "cvqa", multiple_choice(), **columns))
    metrics = measured(dataset.uri, embedder, resamples=20)
    images = embedder.embed([dataset.images], []).images[0].embeddings
    texts = embedder.prompts([["何? 七"], ["何? 八"]])
    assert metrics["eval/cvqa/japanese-japan/local"] == float((texts @ images[0]).argmax() == 1)
    assert 0 <= metrics["eval/cvqa/mean/english_low"] <= metrics["eval/cvqa/mean/english"]
    assert metrics["eval/cvqa/mean/english"] <= metrics["eval/cvqa/mean/english_high"] <= 1


def test_few_shots_are_learnt_from_the_train_images_and_tried_on_the_others(tmp_path, embedder):
    columns = {"label": [0, 1] * 8, "split": (["train"] * 8) + (["test"] * 8)}
    images = [picture(row % 2) for row in range(16)]  # the same two again and again: nothing is easier
    uri = write_set(tmp_path / "geo", {"task": "few-shot", "shots": [1, 3]}, image=[*images[:15], BROKEN], **columns)
    metrics = measured(uri, embedder)
    assert metrics["eval/geo/mean/few_shot1"] == metrics["eval/geo/mean/few_shot3"] == 7 / 8


def test_intervals_hold_what_they_are_about(tmp_path, embedder):
    uri = write_set(tmp_path / "things", classification(), label=[0, 1, 2] * 6)
    metrics = measured(uri, embedder, resamples=200)
    for language in ("en", "de", "mean"):
        low, share, high = (metrics[f"eval/things/{language}/top1{end}"] for end in ("_low", "", "_high"))
        assert low < share < high or low == share == high == 0 or low == share == high == 1
    assert metrics.keys() > measured(uri, embedder).keys()


def test_embedding_in_parts_changes_nothing(tmp_path, embedder):
    columns = {"label": [0] * 11}
    whole, parts = (
        EvaluationSet.load(write_set(tmp_path / str(size), classification(), row_group_size=size, **columns))
        for size in (11, 2)
    )
    found = embedder.embed([whole.images, parts.images], []).images
    torch.testing.assert_close(found[0].embeddings, found[1].embeddings)
    assert len(parts.images.part_rows) == 6
    numbers = [row for part in parts.images.parts([5, 1]) for row in part["order"].to_pylist()]
    assert numbers == [10, 2, 3]


BAD = {
    "another task": ({"task": "poetry"}, {}, "task is 'poetry'; known are classification, "),
    "no task": ({}, {}, "task is None"),
    "a field is missing": ({"task": "classification", "classes": {"en": ["a"]}}, {}, "not as a classification set's"),
    "labels do not fit": (
        classification(), {"label": [0, 3, 1, -1, None]}, "3 labels do not fit its 3 classes, the first in row 1: 3",
    ),
    "no labels": (classification(), {"id": [1]}, "has no column label"),
    "several labels do not fit": (
        classification(multi_label=True), {"labels": [[0], [1, 9], []]}, "2 labels do not fit its 3 classes",
    ),
    "languages of different length": (
        classification(classes={"en": ["a", "b"], "de": ["c"]}), {"label": [0]},
        "different numbers of classes: en 2, de 1; one without a name is null",
    ),
    "a language without templates": (
        classification(templates={"en": ["{}"]}), {"label": [0]}, "language de has class names and no templates",
    ),
    "a template without a place": (
        classification(templates={"en": ["a photo"], "de": ["{}"]}), {"label": [0]}, "language en: a template must",
    ),
    "no image of a named class": (classification(), {"label": [2, 2]}, "no image of it belongs to a class .* in de"),
    "captions of other images": (
        {"task": "retrieval", "captions": {"en": [["a"]]}}, {"id": [1, 2]}, "en has captions of 1",
    ),
    "an image without captions": (
        {"task": "retrieval", "captions": {"en": [["a"], []]}}, {"id": [1, 2]}, "1 images have no list of .* in en",
    ),
    "a caption that is no list": (
        {"task": "geometry", "captions": {"en": ["a", "b"]}}, {"id": [1, 2]}, "no list of captions",
    ),
    "an answer that is no option": (
        multiple_choice(), {"label": [1, 3], "language": ["a", "b"]},
        "the answer of question 1 is 3, and it has 3 options",
    ),
    "an unknown split": ({"task": "few-shot", "shots": [1]}, {"label": [0], "split": ["valid"]}, "holds 'valid'"),
    "a class that is not taught": (
        {"task": "few-shot", "shots": [1]}, {"label": [0, 1, 7], "split": ["train", "train", "test"]}, r"\[7\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_set_that_does_not_fit_is_refused_in_one_sentence(case, tmp_path):
    content, columns, message = BAD[case]
    uri = write_set(tmp_path / "bad", content, **(columns or {"label": [0]}))
    with pytest.raises(UserError, match=message) as caught:
        task_of(EvaluationSet.load(uri))
    assert "\n" not in str(caught.value)


def test_a_missing_set_says_what_makes_one(tmp_path):
    with pytest.raises(UserError, match=r"no evaluation set at .*/gone: .*convert-set"):
        EvaluationSet.load(str(tmp_path / "gone"))


@pytest.mark.parametrize(("name", "text"), [("dataset.json", "{"), ("dataset.json", "[]"), ("images.parquet", "PAR")])
def test_a_broken_file_of_a_set_is_named(name, text, tmp_path):
    uri = write_set(tmp_path / "s", classification(), label=[0])
    (tmp_path / "s" / name).write_text(text)
    with pytest.raises(UserError, match=re.escape(f"{uri}/{name}")):
        EvaluationSet.load(uri)


def test_two_sets_of_one_name_are_refused(tmp_path):
    sets = [EvaluationSet.load(write_set(tmp_path / n / "same", classification(), label=[0])) for n in "ab"]
    with pytest.raises(UserError, match="two evaluation sets are named same"):
        checked_tasks(sets)


def test_prompts_of_a_class_are_embedded_as_their_mean_direction(embedder):
    both, first, second = embedder.prompts([["one", "two"], ["one"], ["two"]])
    torch.testing.assert_close(both, torch.nn.functional.normalize(first + second, dim=0))
