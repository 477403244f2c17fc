"""The sample of annotations: which pairs of a pool stand in it, and with what chance each of them had to.

Half of the sample is for all pairs alike. The other half is shared out equally among the matched and the unmatched
captions of every language; where there are no more than a share, all of them are in, and the others share what is left.
So frequent languages have many rows, and rare ones are whole. A pair stands in the sample with the largest chance that
one of its captions gives it, by a hash of its id alone; a sum over the pool is estimated by counting each row
1 / inclusion times (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.draws import Purpose, uniform
from metaclip_core.records import ANNOTATED, SAMPLED, check

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class InclusionRates:
    """Chances of standing in the sample: of any pair, and of one with a caption of a language, matched or not."""

    of_pairs: float
    of_matched: Mapping[str, float]
    of_unmatched: Mapping[str, float]


def inclusion_rates(counts: PoolCounts, *, num_pairs: int) -> InclusionRates:
    """Rates that put `num_pairs` pairs of the pool into the sample at most, on average; all, if it has no more."""
    languages = sorted(language for measure, language in counts.sums if measure == Measure.CAPTIONS)
    captions = np.array([counts.total(Measure.CAPTIONS, language) for language in languages], np.int64)
    matched = np.array([counts.total(Measure.MATCHED_CAPTIONS, language) for language in languages], np.int64)
    pool_pairs = counts.total(Measure.PAIRS)
    if pool_pairs <= num_pairs:
        everything = dict.fromkeys(languages, 1.0)
        return InclusionRates(1.0, everything, everything)
    strata = np.concatenate([matched, captions - matched])
    rates = np.minimum(1.0, equal_share(strata, num_pairs / 2) / np.maximum(strata, 1))
    of_matched, of_unmatched = np.split(rates, 2)
    return InclusionRates(
        num_pairs / 2 / pool_pairs,
        dict(zip(languages, of_matched.tolist(), strict=True)),
        dict(zip(languages, of_unmatched.tolist(), strict=True)),
    )


def equal_share(sizes: Iterable[int], total: float) -> float:
    """What each may take so that all together take `total`, when none takes more than its size: Σ min(size, share).

    Returns:
        The largest size, where all sizes together are no more than `total`.
    """
    left = total
    ascending = sorted(sizes)
    for position, size in enumerate(ascending):
        num_left = len(ascending) - position
        if size * num_left > left:
            return left / num_left
        left -= size
    return float(ascending[-1]) if ascending else 0.0


def inclusion(annotated: pa.Table, rates: InclusionRates) -> Floats:
    """The chance of each pair to stand in the sample: float64[n]."""
    captions = annotated["captions"].combine_chunks()
    flat = pc.list_flatten(captions)
    languages = sorted(rates.of_matched)
    table = np.array([[rates.of_unmatched[name], rates.of_matched[name]] for name in languages]).reshape(-1, 2)
    place = pc.index_in(flat.field("language"), pa.array(languages, pa.string())).to_numpy(zero_copy_only=False)
    matched = pc.greater(pc.list_value_length(flat.field("entry_ids")), 0).to_numpy(zero_copy_only=False)
    chances = np.full(annotated.num_rows, rates.of_pairs)
    np.maximum.at(chances, pc.list_parent_indices(captions).to_numpy(), table[place, matched.astype(np.int64)])
    return chances


def sample_pairs(annotated: pa.Table, rates: InclusionRates) -> pa.Table:
    """The pairs of ANNOTATED that the sample holds, as SAMPLED. Pure; a pair's fate depends on that pair alone."""
    chances = inclusion(annotated, rates)
    chosen = uniform(annotated["pair_id"], purpose=Purpose.SAMPLE, epoch=0, seed=0) < chances
    pairs = check(annotated.replace_schema_metadata(), ANNOTATED, stage="sample").filter(pa.array(chosen))
    return pairs.append_column(SAMPLED.field("inclusion"), pa.array(chances[chosen])).cast(SAMPLED)
