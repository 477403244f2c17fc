"""Few-shot classification of image embeddings: a linear probe learns from k images of each class.

scikit-learn's multinomial logistic regression. CLIP's example regularises it with C = 0.316 on features that are about
ten long (arXiv 2103.00020, section 3.2); on unit vectors that is C = 31.6.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from metaclip_core.evaluation.ranking import Tally

C = 31.6
_MAX_ITERATIONS = 1_000

Ints = npt.NDArray[np.int64]


def few_shot(
    train: npt.NDArray[np.float32],
    train_labels: Ints,
    test: npt.NDArray[np.float32],
    test_labels: Ints,
    *,
    shots: int,
    seed: int,
) -> Tally:
    """Which test images the probe names rightly. Classes with fewer than `shots` images teach with what they have.

    Args:
        train: unit vectors [n, d] to draw the shots from.
        train_labels: [n].
        test: [m, d]; zeros for an image that did not decode, which the caller counts as wrong.
        test_labels: [m].
        shots: images of each class, at most.
        seed: of the drawing.

    Raises:
        ValueError: there are fewer than two classes to tell apart, or nothing to test.
    """
    if len(np.unique(train_labels)) < 2 or not len(test_labels):  # noqa: PLR2004 - a class against another
        raise ValueError("a few-shot set needs train images of two classes and test images")
    rows = draw_shots(train_labels, shots=shots, seed=seed)
    probe = LogisticRegression(C=C, max_iter=_MAX_ITERATIONS)
    probe.fit(train[rows], train_labels[rows])
    right = np.asarray(probe.predict(test) == test_labels, np.float64)
    return Tally(right, np.ones(len(right)))


def draw_shots(labels: Ints, *, shots: int, seed: int) -> Ints:
    """Rows of `shots` images of each class, or all of a smaller one. More shots hold those of fewer."""
    order = np.random.default_rng(seed).permutation(len(labels))
    return np.concatenate([order[labels[order] == label][:shots] for label in np.unique(labels)])
