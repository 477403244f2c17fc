"""What thresholds would do to a pool, without a pass over it: from its counts and the sample of its annotations.

Three numbers are easily taken for one another. *Matches* are mentions of an entry, one for each caption that mentions
it. *Kept matches* are those that a draw would keep if each were drawn alone with the probability of its entry,
t / max(matches of the entry, t): the sum of min(matches, t) over the entries, exact, and the terms in which the papers
speak of a threshold. *Unique pairs* are what is trained on: a pair is kept once, if any entry of its drawn caption
keeps it, so that there are never more of them than kept matches. (Nor are kept matches those that the kept pairs
mention: a pair that is kept for one entry brings its others along.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from metaclip_core.balancing import ENGLISH, head_tail
from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.estimates import Estimate, chances, estimate_pairs
from metaclip_core.sampling import ProbabilityTables


@dataclass(frozen=True)
class Outlook:
    """What a threshold would do to a language, or the thresholds of all languages to the pool.

    All but `pairs` are exact. Tail entries have fewer matches than t, and at least one.
    """

    matches: int
    kept_matches: int
    unmatched_entries: int
    tail_entries: int
    head_entries: int
    pairs: Estimate


@dataclass(frozen=True)
class WhatIf:
    """What the thresholds `t` would do: to each language that has one, most matches first, and in all."""

    t: Mapping[str, int]
    languages: dict[str, Outlook]
    total: Outlook

    @property
    def english_share(self) -> float:
        """Of the pairs that a draw keeps on average; it scales training up for the other languages."""
        english = self.languages.get(ENGLISH)
        return english.pairs.mean / self.total.pairs.mean if english else 0.0


def what_if(counts: PoolCounts, t: Mapping[str, int], sample: Iterable[pa.Table]) -> WhatIf:
    """What thresholds would do to a pool.

    Args:
        counts: of the pool.
        t: the threshold of each language that has matches, not empty.
        sample: tables with the columns `captions` and `inclusion` of SAMPLED; read once.
    """
    kept_matches = {language: int(np.minimum(counts.matches[language], t[language]).sum()) for language in t}
    estimates = estimate_pairs(
        chances(sample, ProbabilityTables(counts.matches, t)),
        matched={language: counts.total(Measure.MATCHED_CAPTIONS, language) for language in t},
        kept_matches=kept_matches,
        matched_pairs=counts.total(Measure.MATCHED_PAIRS),
    )
    languages = {}
    for language, pairs in estimates.by_language.items():
        matches = counts.matches[language]
        split = head_tail(matches, t=t[language])
        languages[language] = Outlook(
            matches=int(matches.sum()),
            kept_matches=kept_matches[language],
            unmatched_entries=len(matches) - split.tail_entries - split.head_entries,
            tail_entries=split.tail_entries,
            head_entries=split.head_entries,
            pairs=pairs,
        )
    by_size = sorted(languages, key=lambda language: (-languages[language].matches, language))
    return WhatIf(t, {language: languages[language] for language in by_size}, _sum(languages.values(), estimates.total))


def _sum(outlooks: Iterable[Outlook], pairs: Estimate) -> Outlook:
    parts = list(outlooks)
    return Outlook(
        matches=sum(part.matches for part in parts),
        kept_matches=sum(part.kept_matches for part in parts),
        unmatched_entries=sum(part.unmatched_entries for part in parts),
        tail_entries=sum(part.tail_entries for part in parts),
        head_entries=sum(part.head_entries for part in parts),
        pairs=pairs,
    )
