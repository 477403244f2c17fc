import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_accuracy

from metaclip_core.evaluation.classification import MANY_LABELS, mean_direction, prompts, top_k_accuracy


def unit(rows, width, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, width))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_prompts_are_every_name_in_every_template():
    assert prompts("{dog}", ["a {}", "{}!"]) == ["a {dog}", "{dog}!"]
    assert prompts(["cat", "kitty"], ["a {}"]) == ["a cat", "a kitty"]
    assert prompts(None, ["a {}"]) == []


def test_a_template_without_a_place_for_the_name_is_refused():
    with pytest.raises(ValueError, match="'a photo'"):
        prompts("cat", ["a {}", "a photo"])


def test_a_class_is_the_direction_of_the_mean_of_its_prompts():
    embedded = unit(3, 4, seed=0)
    mean = embedded.numpy().mean(axis=0)
    np.testing.assert_allclose(mean_direction(embedded).numpy(), mean / np.linalg.norm(mean))


def test_accuracy_agrees_with_a_naive_count():
    images, classes = unit(200, 5, seed=1), unit(9, 5, seed=2)
    labels = torch.from_numpy(np.random.default_rng(3).integers(0, 7, 200))  # classes 7 and 8 have no images
    accuracy = top_k_accuracy(images, classes, labels, ks=(1, 3, 20))
    ranked = np.argsort(-(images.numpy() @ classes.numpy().T), axis=1)
    for k in (1, 3, 20):
        hits = np.array([label in row[:k] for row, label in zip(ranked, labels.numpy(), strict=True)])
        assert accuracy.top[k].share == pytest.approx(hits.mean())
        per_class = [hits[labels.numpy() == label].mean() for label in range(7)]
        assert accuracy.top_per_class[k] == pytest.approx(np.mean(per_class))


@pytest.mark.parametrize("seed", range(3))
def test_accuracy_is_that_of_scikit_learn_and_of_torchmetrics(seed):
    images, classes = unit(300, 8, seed), unit(12, 8, seed + 10)
    labels = torch.from_numpy(np.random.default_rng(seed).integers(0, 12, 300))
    scores = images @ classes.T
    accuracy = top_k_accuracy(images, classes, labels, ks=(1, 5))
    for k in (1, 5):
        assert accuracy.top[k].share == top_k_accuracy_score(labels, scores, k=k)
        micro = multiclass_accuracy(scores, labels, num_classes=12, top_k=k, average="micro")
        assert accuracy.top[k].share == pytest.approx(micro.item(), abs=1e-7)
        macro = multiclass_accuracy(scores, labels, num_classes=12, top_k=k, average="macro")
        assert accuracy.top_per_class[k] == pytest.approx(macro.item(), abs=1e-6)
    assert accuracy.top_per_class[1] == pytest.approx(balanced_accuracy_score(labels, scores.argmax(1)), abs=1e-12)


def test_of_several_labels_one_is_enough():
    images, classes = unit(100, 5, seed=1), unit(9, 5, seed=2)
    rng = np.random.default_rng(3)
    labels = [rng.choice(9, size=rng.integers(1, 4), replace=False) for _ in range(100)]
    padded = torch.full((100, 3), MANY_LABELS)
    for row, of_image in zip(padded, labels, strict=True):
        row[: len(of_image)] = torch.from_numpy(of_image)
    ranked = np.argsort(-(images.numpy() @ classes.numpy().T), axis=1)
    accuracy = top_k_accuracy(images, classes, padded, ks=(1, 5))
    for k in (1, 5):
        naive = [bool(set(row[:k]) & set(of_image)) for row, of_image in zip(ranked, labels, strict=True)]
        assert accuracy.top[k].share == pytest.approx(np.mean(naive))
    assert accuracy.top_per_class == {}


def test_a_collapsed_model_is_right_as_often_as_a_guess():
    same = torch.ones(4, 3)
    assert top_k_accuracy(same, same, torch.arange(4), ks=(1, 3)).top[1].share == 0.25


def test_an_image_that_did_not_decode_is_wrong_for_every_k_and_stays_in_the_denominator():
    images, classes = torch.eye(3), torch.eye(3)
    decoded = torch.tensor([True, False, True])
    accuracy = top_k_accuracy(images, classes, torch.arange(3), ks=(1, 5), decoded=decoded)
    assert {k: tally.share for k, tally in accuracy.top.items()} == {1: 2 / 3, 5: 2 / 3}
    assert accuracy.top_per_class[1] == pytest.approx(2 / 3)


@pytest.mark.parametrize("labels", [[0, 3], [-1, 0], [[0, 1], [-1, -1]]])
def test_a_label_that_is_no_class_is_refused(labels):
    with pytest.raises(ValueError, match="none of the 3 classes"):
        top_k_accuracy(torch.eye(3)[:2], torch.eye(3), torch.tensor(labels), ks=(1,))


def test_no_images_are_an_error_and_not_a_perfect_score():
    with pytest.raises(ValueError, match="no images"):
        top_k_accuracy(torch.zeros(0, 3), torch.zeros(2, 3), torch.zeros(0, dtype=torch.int64), ks=(1,))
