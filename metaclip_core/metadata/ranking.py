"""The published rules by which bigrams are ranked."""

from __future__ import annotations

from enum import StrEnum


class BigramRanking(StrEnum):
    """What bigrams are ranked by."""

    PMI = "pmi"  # of those with PMI above a bound
    WEIGHTED = "weighted"  # (c + 1)^0.7 · (PMI − PMI_30%), of those above 0: raw PMI favours rare typing errors
