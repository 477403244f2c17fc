import numpy as np
import pytest
import torch

from metaclip_core.evaluation.classification import class_embeddings, prompts, top_k_accuracy


def unit(rows, width, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((rows, width))
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def test_prompts_go_class_by_class():
    assert prompts(["cat", "{dog}"], ["a {}", "{}!"]) == ["a cat", "cat!", "a {dog}", "{dog}!"]


def test_a_template_without_a_place_for_the_name_is_refused():
    with pytest.raises(ValueError, match="'a photo'"):
        prompts(["cat"], ["a {}", "a photo"])


def test_a_class_is_the_direction_of_the_mean_of_its_prompts():
    embedded = unit(6, 4, seed=0)
    classes = class_embeddings(embedded, num_templates=3)
    for row in range(2):
        mean = embedded[3 * row : 3 * row + 3].numpy().mean(axis=0)
        np.testing.assert_allclose(classes[row].numpy(), mean / np.linalg.norm(mean))


def test_prompts_that_do_not_share_out_are_refused():
    with pytest.raises(ValueError, match="7 prompt embeddings"):
        class_embeddings(unit(7, 4, seed=0), num_templates=3)


def test_accuracy_agrees_with_a_naive_count():
    images, classes = unit(200, 5, seed=1), unit(9, 5, seed=2)
    labels = torch.from_numpy(np.random.default_rng(3).integers(0, 7, 200))  # classes 7 and 8 have no images
    accuracy = top_k_accuracy(images, classes, labels, ks=(1, 3, 20))
    ranked = np.argsort(-(images.numpy() @ classes.numpy().T), axis=1)
    for k in (1, 3, 20):
        hits = np.array([label in row[:k] for row, label in zip(ranked, labels.numpy(), strict=True)])
        assert accuracy.top[k] == pytest.approx(hits.mean())
        per_class = [hits[labels.numpy() == label].mean() for label in range(7)]
        assert accuracy.top_per_class[k] == pytest.approx(np.mean(per_class))


def test_a_collapsed_model_earns_nothing_from_ties():
    same = torch.ones(4, 3)
    assert top_k_accuracy(same, same, torch.arange(4), ks=(1, 3)).top == {1: 0.0, 3: 0.0}


def test_no_images_are_an_error_and_not_a_perfect_score():
    with pytest.raises(ValueError, match="no images"):
        top_k_accuracy(torch.zeros(0, 3), torch.zeros(2, 3), torch.zeros(0, dtype=torch.int64), ks=(1,))
