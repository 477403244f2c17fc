"""What the counts say of a language's entries, exactly: which are mentioned most, which never, how t splits them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]

_CURVE_POINTS = 60


@dataclass(frozen=True)
class EntryFacts:
    """The entries of one language. Tail entries have fewer than t matches, and at least one; entries are their ids."""

    entries: int
    mentioned: int
    tail: int
    matches: int
    tail_matches: int
    kept_matches: int  # Σ min(matches, t): those that a draw keeps if each is drawn alone
    curve: list[tuple[int, int]]  # (rank, matches), most matches first, thinned at even distances of the logarithm
    top: list[tuple[int, int]]  # (entry, matches)
    unmentioned: list[int]  # some of them, at even distances


def entry_facts(counts: Counts, *, t: int | None, num_shown: int) -> EntryFacts:
    """The facts of int[n] matches by entry.

    Args:
        counts: of one language.
        t: its threshold; None where nothing matched.
        num_shown: entries in `top` and in `unmentioned`, at most.
    """
    threshold = t or 0
    mentioned = np.flatnonzero(counts)
    ordered = mentioned[np.argsort(-counts[mentioned], kind="stable")]
    ranked = counts[ordered]
    in_tail = ranked < threshold
    unmentioned = np.flatnonzero(counts == 0)
    return EntryFacts(
        entries=len(counts),
        mentioned=len(mentioned),
        tail=int(in_tail.sum()),
        matches=int(ranked.sum()),
        tail_matches=int(ranked[in_tail].sum()),
        kept_matches=int(np.minimum(ranked, threshold).sum()),
        curve=_thinned(ranked),
        top=list(zip(ordered[:num_shown].tolist(), ranked[:num_shown].tolist(), strict=True)),
        unmentioned=unmentioned[_evenly(len(unmentioned), num_shown)].tolist(),
    )


def _thinned(ranked: Counts) -> list[tuple[int, int]]:
    if not len(ranked):
        return []
    ranks = np.unique(np.geomspace(1, len(ranked), _CURVE_POINTS).round().astype(np.int64))
    return list(zip(ranks.tolist(), ranked[ranks - 1].tolist(), strict=True))


def _evenly(size: int, limit: int) -> Counts:
    """Places of at most `limit` of `size` things, from the first to the last."""
    return np.unique(np.linspace(0, size - 1, num=min(limit, size)).astype(np.int64))
