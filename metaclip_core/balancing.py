"""Algorithm 1 of MetaCLIP 2: from entry counts over thresholds to the probability that a pair is kept.

An entry that few captions mention (the tail) keeps all its pairs; one that many mention (the head) keeps about t of
them. Languages share `p`, the share of matches that lie in the tail, and each language takes the threshold `t`
that gives it this share.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

ENGLISH = "en"
_BLOCK_PAIRS = 4096  # temporaries of a block stay in the L2 cache

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """The tail share `p` of a pool, and the threshold `t` of every language that has matches."""

    p: float
    t: dict[str, int]
    warnings: tuple[str, ...] = ()  # what the user should know before training on these; logged too


def t_to_p(counts: ArrayLike, t: int) -> float:
    """Share of the matches that lie in entries with fewer than `t` of them (strictly).

    Args:
        counts: matches of each entry, int[n].
        t: threshold in matches, at least 1.

    Raises:
        ValueError: counts are negative, not integers, or all zero; `t` is below 1.
    """
    matches = _checked_matches(counts)
    _check_t(t)
    return float(matches[matches < t].sum() / matches.sum())


def p_to_t(counts: ArrayLike, p: float) -> int:
    """The count whose cumulative share of the matches, ascending and inclusive, is nearest to `p`; at least 1.

    Of counts that are equally near, the first (smallest) is taken. Entries without a match take part, with share 0.

    Raises:
        ValueError: counts are negative, not integers, or all zero; `p` is outside [0, 1].
    """
    matches = np.sort(_checked_matches(counts))
    _check_p(p)
    cumulative = np.cumsum(matches)
    shares = cumulative / cumulative[-1]
    return max(1, int(matches[np.argmin(np.abs(shares - p))]))


@dataclass(frozen=True)
class HeadTail:
    """How t splits the entries that were matched; the tail has fewer than t matches each."""

    head_entries: int
    tail_entries: int
    tail_share: float  # of all matches


def head_tail(counts: ArrayLike, *, t: int) -> HeadTail:
    """The split of int[n] matches by entry. Raises ValueError where there are none."""
    matches = _checked_matches(counts)
    head = int((matches >= t).sum())
    return HeadTail(head, int((matches > 0).sum()) - head, t_to_p(matches, t))


def thresholds(
    counts_by_language: Mapping[str, ArrayLike], *, p: float | None = None, t_en: int | None = None
) -> Thresholds:
    """The threshold of every language, from exactly one of `p` and `t_en`.

    With `t_en`, English uses it as it stands, and its tail share is the `p` of all others. With `p`, English takes
    its threshold as every other language does. A language without matches has no threshold.

    Raises:
        ValueError: both or none of `p` and `t_en` are given, or `t_en` although English has no matches.
    """
    matched = {language: counts for language, counts in counts_by_language.items() if _checked(counts).any()}
    warnings: tuple[str, ...] = ()
    if p is not None and t_en is None:
        share = p
    elif t_en is not None and p is None:
        if ENGLISH not in matched:
            raise ValueError("t_en needs English matches, and this pool has none: give p (published: 0.06)")
        share = t_to_p(matched[ENGLISH], t_en)
        largest = int(_checked(matched[ENGLISH]).max())
        if t_en > largest:
            warnings = (f"t_en {t_en} is above the largest English count, {largest}: p is 1, nothing is balanced",)
    else:
        raise ValueError(f"give exactly one of p and t_en, got p={p}, t_en={t_en}")
    _check_p(share)
    t = {language: p_to_t(counts, share) for language, counts in matched.items()}
    if t_en is not None:
        t[ENGLISH] = t_en
    for warning in warnings:
        _log.warning(warning)
    return Thresholds(p=share, t=t, warnings=warnings)


def shared(computed: Thresholds) -> Thresholds:
    """The threshold of English for every language. Raises ValueError where English has none."""
    if ENGLISH not in computed.t:
        raise ValueError("one threshold for all languages is that of English, and this pool has no English matches")
    return dataclasses.replace(computed, t=dict.fromkeys(computed.t, computed.t[ENGLISH]))


def entry_probabilities(counts: ArrayLike, t: int) -> NDArray[np.float64]:
    """Probability of keeping a pair for the sake of one entry: t / max(count, t), float64[n].

    Raises:
        ValueError: counts are negative or not integers; `t` is below 1.
    """
    matches = _checked(counts)
    _check_t(t)
    probabilities: NDArray[np.float64] = t / np.maximum(matches, t)
    return probabilities


def pair_probability(entry_probabilities: ArrayLike, entry_ids: ArrayLike) -> float:
    """Probability of keeping a pair that matches `entry_ids`: 1 - ∏ (1 - p_i). Without a match, 0.

    The obvious form, and the oracle of `pair_probabilities`.
    """
    probabilities = np.asarray(entry_probabilities, dtype=np.float64)
    missed = 1.0
    for entry_id in np.asarray(entry_ids, dtype=np.int64):
        missed *= 1.0 - float(probabilities[entry_id])
    return 1.0 - missed


def pair_probabilities(
    entry_probabilities: ArrayLike, entry_ids_flat: ArrayLike, offsets: ArrayLike, *, starts: ArrayLike = 0
) -> NDArray[np.float64]:
    """`pair_probability` of k pairs at once, laid out as an Arrow list array.

    Args:
        entry_probabilities: float64[n], of the pairs' language, or of several languages, one after another.
        entry_ids_flat: the entries of all pairs, int[m].
        offsets: int[k + 1], ascending; pair j has `entry_ids_flat[offsets[j]:offsets[j + 1]]`.
        starts: int[k], where the entries of each pair's language begin in `entry_probabilities`; or one for all.

    Returns:
        float64[k]; exactly 1 where an entry is kept for certain, exactly 0 without a match.

    Raises:
        ValueError: offsets are empty, descend or leave `entry_ids_flat`; an id, moved by its start, is outside [0, n).
    """
    probabilities = np.asarray(entry_probabilities, dtype=np.float64)
    entry_ids = np.asarray(entry_ids_flat)
    edges = np.asarray(offsets, dtype=np.int64)
    if edges.ndim != 1 or edges.size == 0:
        raise ValueError("offsets must be int[k + 1]")
    lengths = np.diff(edges)
    if edges[0] < 0 or edges[-1] > entry_ids.size or (lengths < 0).any():
        raise ValueError(f"offsets must ascend within [0, {entry_ids.size}]")
    bases = np.broadcast_to(np.asarray(starts, dtype=np.int64), lengths.shape)
    result = np.zeros(lengths.size)
    matched = np.flatnonzero(lengths > 0)  # reduceat has no empty segments: it would return the next pair's first entry
    for block in range(0, matched.size, _BLOCK_PAIRS):
        pairs = matched[block : block + _BLOCK_PAIRS]
        used = np.repeat(bases[pairs], lengths[pairs])
        used += entry_ids[edges[pairs[0]] : edges[pairs[-1] + 1]]
        if used.min() < 0 or used.max() >= probabilities.size:
            raise ValueError(f"entry ids must lie in [0, {probabilities.size})")
        missed = probabilities[used]
        np.subtract(1.0, missed, out=missed)
        result[pairs] = 1.0 - np.multiply.reduceat(missed, edges[pairs] - edges[pairs[0]])
    return result


def _checked(counts: ArrayLike) -> NDArray[np.int64]:
    """`counts` as int64[n] that nobody here writes to."""
    array = np.asarray(counts)
    if array.ndim != 1 or not (np.issubdtype(array.dtype, np.integer) or array.size == 0):
        raise ValueError(f"counts must be integers, one for each entry; got {array.dtype} of shape {array.shape}")
    if (array < 0).any():
        raise ValueError(f"counts must not be negative; the smallest is {array.min()}")
    return array.astype(np.int64, copy=False)


def _checked_matches(counts: ArrayLike) -> NDArray[np.int64]:
    matches = _checked(counts)
    if not matches.any():
        raise ValueError("no entry has a match: a threshold has no meaning here")
    return matches


def _check_t(t: int) -> None:
    if not t >= 1:
        raise ValueError(f"t must be at least 1, got {t}")


def _check_p(p: float) -> None:
    if not 0 <= p <= 1:  # also refuses NaN
        raise ValueError(f"p must lie in [0, 1], got {p}")
