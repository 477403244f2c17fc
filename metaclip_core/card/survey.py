"""What one reading of the sample of annotations tells: captions, an epoch's draw, and pairs to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from metaclip_core.card.captions import CaptionSums
from metaclip_core.card.examples import Example, Examples
from metaclip_core.sampling import Choices, ProbabilityTables, choose


@dataclass(frozen=True)
class Survey:
    """What the sample says. `drawn` has the pairs of the epoch by language of the drawn caption, estimated."""

    num_pairs: int
    captions: CaptionSums
    drawn: dict[str, float]
    examples: dict[str, list[Example]]


def survey_sample(
    sample: Iterable[pa.Table], tables: ProbabilityTables, *, epoch: int, seed: int, examples_per_fate: int
) -> Survey:
    """Read tables of SAMPLED once. The epoch is drawn from the sample alone; memory does not grow with it.

    Args:
        sample: any number of tables; how the rows are split changes nothing.
        tables: of the curation.
        epoch: that is drawn.
        seed: of the run.
        examples_per_fate: pairs kept of each language that the epoch has, has not, and can't have.
    """
    captions, examples = CaptionSums(), Examples(per_fate=examples_per_fate)
    drawn: Counter[str] = Counter()
    num_pairs = 0
    for sampled in sample:
        choices = choose(sampled, tables, epoch=epoch, seed=seed)
        captions.add(sampled)
        examples.add(sampled, choices)
        drawn.update(_drawn(sampled, choices))
        num_pairs += sampled.num_rows
    return Survey(num_pairs, captions, dict(drawn), examples.by_language())


def _drawn(sampled: pa.Table, choices: Choices) -> dict[str, float]:
    kept = choices.kept
    languages = kept.language.dictionary_encode()
    weight = 1 / sampled["inclusion"].to_numpy()[kept.row]
    sums = np.bincount(languages.indices.to_numpy(), weights=weight, minlength=len(languages.dictionary))
    return dict(zip(languages.dictionary.to_pylist(), sums.tolist(), strict=True))
