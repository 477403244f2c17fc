"""Multiple choice in CVQA's form: a question with each of its options is a text, and the nearest to the image wins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from metaclip_core.evaluation.ranking import Tally


def option_texts(question: str, options: Sequence[str]) -> list[str]:
    """The question with each option, parted by one blank (MetaCLIP 2, arXiv 2507.22062, zero-shot CVQA)."""
    return [f"{question.strip()} {option.strip()}" for option in options]


def choices(
    image_embeddings: torch.Tensor,
    option_embeddings: Sequence[torch.Tensor],
    answers: Sequence[int],
    *,
    decoded: torch.Tensor,
) -> Tally:
    """Which questions are answered rightly; of options that are equally near the first is chosen.

    Args:
        image_embeddings: [n, d], a row for each question.
        option_embeddings: of each question [options, d].
        answers: the right option of each question.
        decoded: bool [n]; a question whose image did not decode is answered wrongly.

    Raises:
        ValueError: an answer is none of its options.
    """
    right = np.zeros(len(answers))
    for row, (options, answer) in enumerate(zip(option_embeddings, answers, strict=True)):
        if not 0 <= answer < len(options):
            raise ValueError(f"question {row} has {len(options)} options, and its answer is {answer}")
        right[row] = bool(decoded[row]) and int((options @ image_embeddings[row]).argmax()) == answer
    return Tally(right, np.ones(len(answers)))
