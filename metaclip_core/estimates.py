"""How many pairs a draw keeps, estimated from the sample of annotations, with the interval that a draw lies in.

A language's estimate is the share that a draw keeps of its sampled matched captions, each counted 1 / inclusion times,
of its matched captions in the pool, which were counted exactly (a ratio estimator: Särndal, Swensson and Wretman
1992). The interval has two parts. Another sample would give another estimate: the variance of Poisson sampling, which
vanishes as the sample becomes the pool. And draws differ: the variance Σ q (1 − q) over the pairs. For what it has not
seen, the sample gets some four captions more, as uncertain as can be (Agresti and Coull 1998), so that few captions,
or none, give a wide interval and not one of width zero. Both parts are joined as Zou and Donner (2008) do, and end
where exact counts and the sample itself set a bound.

Draws of different rows are taken as independent, which those of duplicates, where a recipe keeps them, are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.sampling import ProbabilityTables, candidates

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CONFIDENCE = 0.95
_Z = 1.959963984540054  # the normal quantile of CONFIDENCE, both sides
_PSEUDO = _Z**2
_DIGITS = 6  # sums of floats are rounded to so many before they become whole pairs


@dataclass(frozen=True)
class Estimate:
    """Pairs that an epoch keeps: `mean` on average; a draw lies from `low` to `high` with `CONFIDENCE`."""

    mean: float
    low: int
    high: int


@dataclass(frozen=True)
class Chances:
    """What a draw does to sampled pairs: an element for each pair and language of its matched captions.

    `row` is the pair's number in the sample, ascending; `language` a place in `languages`; `captions` how many matched
    captions the pair has in that language; `kept` the probability that a draw keeps the pair with one of these.
    """

    languages: list[str]
    row: Ints
    language: Ints
    captions: Floats
    kept: Floats
    inclusion: Floats


def chances(sample: Iterable[pa.Table], tables: ProbabilityTables) -> Chances:
    """The chances of a sample, which comes as tables with the columns `captions` and `inclusion` of SAMPLED."""
    languages = pa.array(tables.languages, pa.string())
    size = max(1, len(languages))
    parts: list[tuple[Ints, Ints, Floats, Floats, Floats]] = []
    first = 0
    for table in sample:
        choices = candidates(table, tables)
        language = pc.index_in(choices.language, languages).to_numpy(zero_copy_only=False)
        keys, group = np.unique(choices.row * size + language, return_inverse=True)
        row, of_language = np.divmod(keys, size)
        captions = np.bincount(group, minlength=len(keys)).astype(np.float64)
        kept = np.bincount(group, weights=choices.chance, minlength=len(keys))
        inclusion = table["inclusion"].to_numpy()[row]
        parts.append((first + row, of_language, captions, np.minimum(kept, 1.0), inclusion))
        first += table.num_rows
    if not parts:
        none = np.empty(0)
        return Chances(tables.languages, none.astype(np.int64), none.astype(np.int64), none, none, none)
    return Chances(tables.languages, *(np.concatenate(column) for column in zip(*parts, strict=True)))


@dataclass(frozen=True)
class PairEstimates:
    """Pairs that an epoch keeps: by the language of the drawn caption, and all."""

    by_language: dict[str, Estimate]
    total: Estimate


def estimate_pairs(
    sampled: Chances, *, matched: Mapping[str, int], kept_matches: Mapping[str, int], matched_pairs: int
) -> PairEstimates:
    """The pairs that an epoch of the pool keeps.

    Args:
        sampled: of the sample.
        matched: matched captions of the pool, at least 1 for each of `sampled.languages`.
        kept_matches: the sum of all entry probabilities over these captions, above which no average lies.
        matched_pairs: pairs of the pool with a matched caption.
    """
    captions = np.array([matched[language] for language in sampled.languages], np.float64)
    bounds = np.array([kept_matches[language] for language in sampled.languages], np.float64)
    sums = _Sums.of(sampled, captions)
    average = _average(sums, captions, bounds)
    weight = sums.effective + sums.pseudo
    drawing = (sums.effective * sums.drawing + captions * sums.pseudo / 4) / weight
    by_language = [_estimate(*values) for values in zip(*average, drawing, captions, strict=True)]
    mean = sum(estimate.mean for estimate in by_language)
    return PairEstimates(
        dict(zip(sampled.languages, by_language, strict=True)),
        _total(sampled, sums, captions, mean=mean, matched_pairs=matched_pairs),
    )


@dataclass(frozen=True)
class _Sums:
    """What the sample says of each language: float64[number of languages] each."""

    captions: Floats  # in the sample
    kept: Floats  # pairs that a draw of the sample keeps on average
    share: Floats  # of the captions, those kept; a half where there are none
    factor: Floats  # captions of the pool / their estimate
    sampling: Floats  # variance of `share` × captions of the pool
    drawing: Floats  # variance of a draw of the pool
    effective: Floats  # captions of a sample without weights that would say as much
    pseudo: Floats  # captions that stand for what the sample has not seen

    @classmethod
    def of(cls, sampled: Chances, captions: Floats) -> _Sums:
        """The sums, given the captions of the pool."""

        def total(values: Floats) -> Floats:
            return np.bincount(sampled.language, weights=values, minlength=len(captions)).astype(np.float64, copy=False)

        weight = 1 / sampled.inclusion
        seen = total(sampled.captions)
        estimated = total(sampled.captions * weight)
        met = seen > 0
        share = np.divide(total(sampled.kept * weight), estimated, out=np.full(len(captions), 0.5), where=met)
        factor = np.divide(captions, estimated, out=np.zeros(len(captions)), where=met)
        squares = total((sampled.captions * weight) ** 2)
        residual = _residual(sampled, share, factor)
        return cls(
            captions=seen,
            kept=total(sampled.kept),
            share=share,
            factor=factor,
            sampling=total((1 - sampled.inclusion) * (weight * residual) ** 2),
            drawing=factor * total(weight * sampled.kept * (1 - sampled.kept)),
            effective=np.divide(estimated**2, squares, out=np.zeros(len(captions)), where=met),
            pseudo=_PSEUDO * (1 - seen / captions),
        )


def _residual(sampled: Chances, share: Floats, factor: Floats) -> Floats:
    """What an element adds to its language's estimate beyond what its captions let expect."""
    residual: Floats = factor[sampled.language] * (sampled.kept - share[sampled.language] * sampled.captions)
    return residual


def _average(sums: _Sums, captions: Floats, bounds: Floats) -> tuple[Floats, Floats, Floats]:
    """The mean of draws, and the ends of the interval in which it lies: by language."""
    most = np.minimum(bounds, captions - sums.captions + sums.kept)
    weight = sums.effective + sums.pseudo
    centre = captions * (sums.effective * sums.share + sums.pseudo / 2) / weight
    variance = (sums.effective**2 * sums.sampling + captions**2 * sums.pseudo / 4) / weight**2
    reach = _Z * np.sqrt(variance)
    mean, low, high = (np.clip(x, sums.kept, most) for x in (captions * sums.share, centre - reach, centre + reach))
    return mean, low, high


def _total(sampled: Chances, sums: _Sums, captions: Floats, *, mean: float, matched_pairs: int) -> Estimate:
    """The estimate of all languages together: a pair of several languages is one pair."""
    starts = np.flatnonzero(np.diff(sampled.row, prepend=-1))
    inclusion = sampled.inclusion[starts]
    kept = np.minimum(np.add.reduceat(sampled.kept, starts), 1.0)
    residual = np.add.reduceat(_residual(sampled, sums.share, sums.factor), starts)
    pseudo = sums.pseudo / (sums.effective + sums.pseudo) / 4
    sampling = ((1 - inclusion) * (residual / inclusion) ** 2).sum()
    sampling += (captions**2 * pseudo / (sums.effective + sums.pseudo)).sum()
    drawing = (kept * (1 - kept) / inclusion).sum() + (captions * pseudo).sum()
    least, most = kept.sum(), matched_pairs - (1 - kept).sum()
    mean, low, high = np.clip(mean + _Z * np.sqrt(sampling) * np.array([0, -1, 1]), least, most).tolist()
    return _estimate(mean, low, high, drawing, matched_pairs)


def _estimate(mean: float, low: float, high: float, draw_variance: float, most: float) -> Estimate:
    """Joins an interval of the mean of draws with their own spread; in whole pairs, of which there are `most`."""
    spread = _Z * math.sqrt(draw_variance)
    low, high = mean - math.hypot(mean - low, spread), mean + math.hypot(high - mean, spread)
    whole = math.floor(round(low, _DIGITS)), math.ceil(round(high, _DIGITS))
    return Estimate(float(mean), max(0, whole[0]), min(int(most), whole[1]))
