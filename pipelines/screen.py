"""Screening: which pairs are left out for what they are, whatever the rest of the pool holds.

It stands between annotation and deduplication, so that the first pair of an id that is fit counts. One file for each
shard, so that new shards alone are screened and a killed job repeats only what it had not finished; the funnel of a
shard travels in it. A recipe without sieves has no such step and no such files.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import ray

from metaclip_core.funnel import Funnel
from metaclip_core.records import LEFT_OUT
from pipelines import storage
from pipelines.annotate import read_annotations
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.lists import list_digests
from pipelines.manifest import Manifest
from pipelines.shards import funnel_metadata
from pipelines.sieves import COLUMNS, Sieve, open_sieves

REVISION = 1


def screens_version(
    config: RunConfig, *, annotations: str, scores: Sequence[str], contamination: str | None
) -> str | None:
    """The version of the screens; None where the recipe has no sieve.

    Args:
        config: the recipe.
        annotations: their version.
        scores: the versions of its classifiers' scores, in their order.
        contamination: the version of what looks like its benchmarks; None where it names none.

    Raises:
        UserError: a list can't be read.
    """
    curation = config.curation
    if not (curation.block_lists or curation.opt_out_lists or curation.classifiers or contamination):
        return None
    return storage.version_of(
        "screens",
        REVISION,
        annotations=annotations,
        **_digests(config),
        scores=scores,
        contamination=contamination,
        thresholds=[[classifier.drop_above, classifier.drop_below] for classifier in curation.classifiers],
    )


def _digests(config: RunConfig) -> dict[str, list[str]]:
    curation = config.curation
    return {
        "block_lists": list_digests(curation.block_lists, config),
        "opt_out_lists": list_digests(curation.opt_out_lists, config),
    }


def screen_pairs(pairs: pa.Table, sieves: Sequence[Sieve], *, name: str, shard: int) -> tuple[pa.Table, Funnel]:
    """LEFT_OUT of the pairs of one shard, and a line of the funnel for each sieve."""
    funnel, left_out = Funnel(), [LEFT_OUT.empty_table()]
    for sieve in sieves:
        funnel.enter(sieve.stage, pairs.num_rows)
        reasons = sieve.judge(pairs, name=name, shard=shard)
        held = pc.is_valid(reasons)
        for count in pc.value_counts(reasons.filter(held)).to_pylist():
            funnel.drop(sieve.stage, count["values"], count["counts"])
        left_out.append(pa.table([pairs["row"], reasons], schema=LEFT_OUT).filter(held))
        pairs = pairs.filter(pc.invert(held))
    return pa.concat_tables(left_out).sort_by("row"), funnel


class Screen:
    """Writes what is left out of shards; holds the recipe's sieves."""

    def __init__(self, config: RunConfig, curated: Curated, *, digests: dict[str, list[str]]) -> None:
        if _digests(config) != digests:
            raise UserError("a block list or an opt-out list has changed since the job was started; start it again")
        self._sieves = open_sieves(config, curated)
        self._annotations_uri = curated.annotations_uri
        self._screens_uri = str(curated.screens_uri)

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Rows of the manifest in, the numbers of the shards screened out."""
        for shard in shards.to_pylist():
            pairs = read_annotations(self._annotations_uri, shard["shard"], columns=COLUMNS)
            left_out, funnel = screen_pairs(pairs, self._sieves, name=shard["name"], shard=shard["shard"])
            uri = storage.shard_file(self._screens_uri, shard["shard"])
            storage.write_table(uri, left_out.replace_schema_metadata(funnel_metadata(funnel)))
        return shards.select(["shard"])


def read_screened(curated: Curated, shard: int, *, columns: list[str] | None = None) -> pa.Table:
    """The annotations of a shard without the pairs that are left out; `columns` name at least the row."""
    annotated = read_annotations(curated.annotations_uri, shard, columns=columns)
    return without_rows(annotated, read_left_out(curated, shard))


def read_left_out(curated: Curated, shard: int) -> pa.Array:
    """The rows of a shard that are left out: int32, ascending."""
    if curated.screens_uri is None:
        return pa.array([], pa.int32())
    return storage.read_table(storage.shard_file(curated.screens_uri, shard), columns=["row"])["row"].combine_chunks()


def without_rows(pairs: pa.Table, rows: pa.Array) -> pa.Table:
    """Those of a shard's pairs whose row is none of these."""
    return pairs.filter(pc.invert(pc.is_in(pairs["row"], value_set=rows)))


def apply_screen(manifest: Manifest, config: RunConfig, curated: Curated) -> ray.data.Dataset:
    """Annotated shards without screens → the numbers of those screened. Lazy."""
    return manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        Screen,
        fn_constructor_args=(config, curated),
        fn_constructor_kwargs={"digests": _digests(config)},
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
    )
