"""What other thresholds would do to a curated pool. The first question makes the sample; no other costs a pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaclip_core.estimates import CONFIDENCE
from metaclip_core.whatif import WhatIf, what_if
from pipelines.config import RunConfig
from pipelines.count import read_counts
from pipelines.curate import locate, not_curated
from pipelines.manifest import load_manifest
from pipelines.samples import make_sample, read_sample
from pipelines.shards import Progress
from pipelines.thresholds import compute_thresholds


@dataclass(frozen=True)
class Dial:
    """What sets the thresholds of all languages: the tail share `p`, or the threshold of English; the other is None."""

    p: float | None
    t_en: int | None


@dataclass(frozen=True)
class DialResult:
    """What a dial would do; `p` is the tail share that it stands for."""

    dial: Dial
    p: float
    outlook: WhatIf


@dataclass(frozen=True)
class WhatIfResult:
    """An answer for each dial, and the sample that they rest on."""

    sample_uri: str
    confidence: float  # with which a draw lies in an interval
    dials: list[DialResult]


def ask(config: RunConfig, dials: Sequence[Dial], *, progress: Progress) -> WhatIfResult:
    """What each of `dials` would do to the recipe's pool. Connects to Ray only where there is no sample yet.

    Raises:
        UserError: the pool is not curated, nothing matched, or t_en can't be used.
    """
    manifest = load_manifest(config)
    curated = locate(config, manifest)
    try:
        counts = read_counts(curated.counts_uri)
    except FileNotFoundError as error:
        raise not_curated(config) from error
    scope = config.curation.thresholds
    thresholds = [
        compute_thresholds(counts, pool=curated.pool, p=dial.p, t_en=dial.t_en, scope=scope) for dial in dials
    ]
    sample_uri = make_sample(manifest, config, curated, counts, progress=progress)
    results = []
    for dial, computed in zip(dials, thresholds, strict=True):
        sample = read_sample(sample_uri, columns=["captions", "inclusion"])
        results.append(DialResult(dial, computed.p, what_if(counts, computed.t, sample)))
    return WhatIfResult(sample_uri, CONFIDENCE, results)
