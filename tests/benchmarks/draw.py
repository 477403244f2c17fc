"""Decisions a second of one core: whether an epoch keeps a pair and, for a matched one, with which caption.

python -m tests.benchmarks.draw
"""

import numpy as np
import pyarrow as pa

from metaclip_core.draws import Purpose, uniform
from metaclip_core.records import ANNOTATED, ANNOTATED_CAPTION
from metaclip_core.sampling import ProbabilityTables, choose, draw
from tests.benchmarks.measure import interleaved, provenance

PAIRS = 100_000
ENTRIES = 200_000
LANGUAGES = ("en", "de", "ja")
MATCHED_SHARE, MEAN_ENTRIES = 0.5, 3.5


def annotated():
    """A shard of pairs with one or two captions; half of these mention 3.5 entries on average, frequent ones mostly."""
    rng = np.random.default_rng(0)
    captions = rng.integers(1, 3, PAIRS)
    size = captions.sum()
    mentions = np.where(rng.random(size) < MATCHED_SHARE, rng.poisson(MEAN_ENTRIES - 1, size) + 1, 0)
    entries = (ENTRIES * rng.random(mentions.sum()) ** 4).astype(np.int32)
    columns = [
        pa.array(["alt"] * size),
        pa.array([f"a caption of usual length, number {number}" for number in range(size)]),
        pa.array(rng.choice(LANGUAGES, size)),
        pa.array(rng.random(size), pa.float32()),
        pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(mentions)), pa.int32()), pa.array(entries)),
    ]
    flat = pa.StructArray.from_arrays(columns, fields=list(ANNOTATED_CAPTION))
    values = {
        "pair_id": pa.array([f"{number:024x}" for number in rng.integers(0, 2**60, PAIRS)]),
        "captions": pa.ListArray.from_arrays(pa.array(np.append(0, np.cumsum(captions)), pa.int32()), flat),
        "row": pa.array(np.arange(PAIRS), pa.int32()),
    }
    missing = {field.name: pa.nulls(PAIRS, field.type) for field in ANNOTATED if field.name not in values}
    return pa.table({field.name: {**values, **missing}[field.name] for field in ANNOTATED}, schema=ANNOTATED)


def main():
    """Print a table."""
    pairs = annotated()
    counts = {language: (1e6 / np.arange(1, ENTRIES + 1)).astype(np.int64) + 1 for language in LANGUAGES}
    tables = ProbabilityTables(counts, dict.fromkeys(LANGUAGES, 50))
    contenders = {
        "`uniform`, one number a pair": lambda: uniform(pairs["pair_id"], purpose=Purpose.KEEP, epoch=0, seed=0),
        "`draw`, caption and keeping": lambda: draw(pairs, tables, epoch=0, seed=0),
    }
    seconds, _ = interleaved(contenders, rounds=25)
    print(provenance())
    print(f"{PAIRS:,} pairs at once, CPU time, medians of 25 interleaved rounds\n")
    matched = len(choose(pairs, tables, epoch=0, seed=0).chosen)
    print("| | million pairs/s/core | million decisions/s/core |\n|---|---|---|")
    for (name, taken), decisions in zip(seconds.items(), (PAIRS, PAIRS + matched), strict=True):
        print(f"| {name} | {PAIRS / taken / 1e6:.1f} | {decisions / taken / 1e6:.1f} |")


if __name__ == "__main__":
    main()
