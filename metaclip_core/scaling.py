"""The worldwide scaling rule: as many English pairs are seen as in an English-only training (arXiv 2507.22062, 3.3)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScaledTraining:
    """What becomes of a training for English alone; steps stay."""

    global_batch_size: int
    seen_pairs: int


def scale_worldwide(
    *, english_share: float, steps: int, global_batch_size: int, multiple_of: int = 1
) -> ScaledTraining:
    """Let the global batch, and so the seen pairs, grow by one over the English share.

    Args:
        english_share: of the drawn pairs, in (0, 1]; published: 0.44, for 12.8 → 29 billion pairs.
        steps: of the optimiser.
        global_batch_size: of a training for English alone.
        multiple_of: what the batch must divide by; it is rounded to the nearest such number.

    Raises:
        ValueError: no English pair is drawn.
    """
    if not 0 < english_share <= 1:
        raise ValueError(f"an English share of {english_share:g} can't be scaled by: it must lie in (0, 1]")
    multiples = max(1, round(global_batch_size / english_share / multiple_of))
    return ScaledTraining(multiples * multiple_of, multiples * multiple_of * steps)
