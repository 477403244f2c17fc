"""Thresholds and what they will do: t by language, and the pairs that an epoch keeps on average."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass

import pyarrow as pa
import ray

from metaclip_core.balancing import shared, thresholds
from metaclip_core.counting import PoolCounts
from metaclip_core.sampling import ProbabilityTables, expected_kept
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.curation import CurationConfig, ThresholdScope
from pipelines.count import read_counts
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.selection import read_unique

REVISION = 2
_THRESHOLDS = "thresholds.json"
_EXPECTED = "expected.json"


@dataclass(frozen=True)
class Thresholds:
    """The curation's result: the tail share `p`, and `t` by language."""

    p: float
    t: dict[str, int]


def compute_thresholds(
    counts: PoolCounts, *, pool: str, p: float | None, t_en: int | None, scope: ThresholdScope
) -> Thresholds:
    """The thresholds of a counted pool, from one of `p` and `t_en`.

    Raises:
        UserError: nothing matched, or t_en can't be used.
    """
    if not any(matches.any() for matches in counts.matches.values()):
        raise UserError(
            f"no caption of pool {pool!r} mentions any metadata entry: check that the metadata is of the "
            "languages of the pool"
        )
    try:
        computed = thresholds(counts.matches, p=p, t_en=t_en)
        if scope is ThresholdScope.POOL:
            computed = shared(computed)
    except ValueError as error:
        raise UserError(str(error)) from error
    return Thresholds(computed.p, dict(computed.t))


def write_thresholds(curated: Curated, curation: CurationConfig) -> Thresholds:
    """Compute and publish the thresholds of a counted pool.

    Raises:
        UserError: nothing matched, or t_en can't be used.
    """
    result = compute_thresholds(
        read_counts(curated.counts_uri),
        pool=curated.pool,
        p=curation.p,
        t_en=curation.t_en,
        scope=curation.thresholds,
    )
    storage.write_json(
        storage.join(curated.thresholds_uri, _THRESHOLDS),
        {**dataclasses.asdict(result), "made_from": dataclasses.asdict(curated)},
    )
    return result


def read_thresholds(thresholds_uri: str) -> Thresholds:
    """Thresholds as they were published. Raises FileNotFoundError."""
    content = storage.read_json(storage.join(thresholds_uri, _THRESHOLDS))
    return Thresholds(content["p"], content["t"])


def load_tables(curated: Curated) -> ProbabilityTables:
    """The entry probabilities of a curation."""
    return ProbabilityTables(read_counts(curated.counts_uri).matches, read_thresholds(curated.thresholds_uri).t)


class Expect:
    """Sums the expected draws of shards; holds the probability tables."""

    def __init__(self, curated: Curated) -> None:
        self._curated = curated
        self._tables = load_tables(curated)

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Columns language and pairs, a sum over the shards for each language."""
        expected: Counter[str] = Counter()
        for shard in shards["shard"].to_pylist():
            annotated = read_unique(self._curated, shard, columns=["row", "captions"])
            expected.update(expected_kept(annotated, self._tables))
        return pa.table({"language": list(expected), "pairs": pa.array(expected.values(), pa.float64())})


def expect(manifest: Manifest, config: RunConfig, curated: Curated) -> dict[str, float]:
    """Pairs that one epoch keeps on average, by language of the drawn caption; stored beside the thresholds."""
    uri = storage.join(curated.thresholds_uri, _EXPECTED)
    if storage.exists(uri):
        return read_expected(curated.thresholds_uri)
    sums = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        Expect,
        fn_constructor_args=(curated,),
        batch_format="pyarrow",
        batch_size=8,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
        udf_modifying_row_count=True,
    )
    by_language: dict[str, list[float]] = {}
    for row in sums.iter_rows():
        by_language.setdefault(row["language"], []).append(row["pairs"])
    expected = {language: sum(sorted(parts)) for language, parts in sorted(by_language.items())}
    storage.write_json(uri, expected)
    return expected


def read_expected(thresholds_uri: str) -> dict[str, float]:
    """What `expect` stored. Raises FileNotFoundError."""
    return dict(storage.read_json(storage.join(thresholds_uri, _EXPECTED)))
