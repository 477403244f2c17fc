"""Scores of classifiers: what is one, and which pairs go for theirs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.records import DropReason


class ScoreError(ValueError):
    """What a classifier gave are no scores of its batch: an error of that program, never of the data."""


def as_scores(given: Any, *, num_rows: int) -> pa.FloatArray:  # noqa: ANN401 - of a program that is not ours
    """What a classifier gave for `num_rows` rows as float32; null where it gave none, or NaN.

    Raises:
        ScoreError: not a number in [0, 1], or nothing, for each row.
    """
    try:
        values = given if isinstance(given, list | tuple) else np.asarray(given)
        scores = pa.array(values, pa.float64(), from_pandas=True).cast(pa.float32(), safe=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ScoreError(f"no list of numbers, but a {type(given).__name__}: {error}") from error
    if len(scores) != num_rows:
        raise ScoreError(f"{len(scores)} scores for {num_rows} rows")
    least, most = pc.min_max(scores).as_py().values()
    for score in (least, most):
        if score is not None and not 0 <= score <= 1:
            raise ScoreError(f"a score of {score:g}, which is not in [0, 1]")
    return scores


def judge_scores(scores: pa.FloatArray, *, drop_above: float | None, drop_below: float | None) -> pa.StringArray:
    """Why each row is left out for its score, or null. One without a score is: nobody has said that it is fit.

    Thresholds are rounded as scores are, so that a score equal to one stays.
    """
    is_above = pc.greater(scores, pa.scalar(1.0 if drop_above is None else drop_above, pa.float32()))
    is_below = pc.less(scores, pa.scalar(0.0 if drop_below is None else drop_below, pa.float32()))
    return pc.case_when(
        pc.make_struct(pc.is_null(scores), is_above, is_below),
        DropReason.UNSCORED.value,
        DropReason.SCORE_ABOVE.value,
        DropReason.SCORE_BELOW.value,
    )
