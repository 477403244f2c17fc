import numpy as np
import pytest

from metaclip_core.evaluation.few_shot import draw_shots, few_shot


def clusters(rows, seed):
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 4
    vectors = 3 * np.eye(8)[labels] + rng.standard_normal((rows, 8))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def test_a_probe_learns_what_can_be_told_apart():
    train, test = clusters(200, 0), clusters(100, 1)
    assert few_shot(*train, *test, shots=25, seed=0).share > 0.9


def test_labels_that_mean_nothing_are_guessed():
    train, test = clusters(400, 0), clusters(400, 1)
    shuffled = np.random.default_rng(2).permutation(train[1])
    assert few_shot(train[0], shuffled, *test, shots=25, seed=0).share == pytest.approx(0.25, abs=0.15)


def test_shots_are_of_each_class_and_more_hold_those_of_fewer():
    labels = np.array([0] * 30 + [1] * 3 + [5] * 30)
    few, many = draw_shots(labels, shots=5, seed=1), draw_shots(labels, shots=10, seed=1)
    assert np.bincount(labels[few]).tolist() == [5, 3, 0, 0, 0, 5]
    assert np.bincount(labels[many]).tolist() == [10, 3, 0, 0, 0, 10]
    assert set(few) < set(many)
    assert set(few) != set(draw_shots(labels, shots=5, seed=2))


def test_a_single_class_is_refused():
    vectors, _ = clusters(8, 0)
    with pytest.raises(ValueError, match="two classes"):
        few_shot(vectors, np.zeros(8, int), vectors, np.zeros(8, int), shots=5, seed=0)
