"""Annotation: every caption gets a language and the metadata entries that it mentions.

One file for each shard, so that new shards alone are annotated and a killed job repeats only what it had not finished.
The funnel of a shard travels in its file's schema metadata.
"""

from __future__ import annotations

import logging

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import ray

from metaclip_core.funnel import Funnel
from metaclip_core.identify import Identified, Identifier, judge_jointly
from metaclip_core.matching import EntryMatcher
from metaclip_core.records import ANNOTATED, ANNOTATED_CAPTION, PAIR, check
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.curation import JointCaptions
from pipelines.errors import UserError
from pipelines.gauges import Tally
from pipelines.identifier import identifier_version, open_identifier
from pipelines.manifest import Manifest
from pipelines.matcher import open_matcher
from pipelines.shards import funnel_metadata
from pipelines.sources.base import open_source

_log = logging.getLogger(__name__)

REVISION = 4


def annotate_batch(
    pairs: pa.Table, identifier: Identifier, matcher: EntryMatcher, *, min_score: float, joint: JointCaptions
) -> pa.Table:
    """PAIR in, ANNOTATED out. Pure; a caption's annotation depends on that caption, or on those of its pair, alone."""
    pairs = check(pairs, PAIR, stage="annotate")
    captions = pairs["captions"].combine_chunks()
    flat = pc.list_flatten(captions)
    texts = flat.field("text").to_pylist()
    offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), pc.list_value_length(captions)]))
    identified = _identify(texts, offsets.to_pylist(), identifier, min_score=min_score, joint=joint)
    found = matcher.match_all(texts, identified.languages)
    annotated = pa.StructArray.from_arrays(
        [
            flat.field("kind"),
            flat.field("text"),
            pa.array(identified.languages, pa.string()),
            pa.array(identified.scores, pa.float32()),
            pa.ListArray.from_arrays(pa.array(found.offsets, pa.int32()), pa.array(found.ids)),
        ],
        fields=list(ANNOTATED_CAPTION),
    )
    column = pa.ListArray.from_arrays(offsets, annotated)
    index = PAIR.get_field_index("captions")
    return pairs.set_column(index, ANNOTATED.field("captions"), column).cast(ANNOTATED)


def _identify(
    texts: list[str], offsets: list[int], identifier: Identifier, *, min_score: float, joint: JointCaptions
) -> Identified:
    alone = identifier.identify(texts, min_score=min_score)
    if joint is JointCaptions.NEVER:
        return alone
    return judge_jointly(alone, texts, offsets, identifier=identifier, min_score=min_score)


class Annotator:
    """`annotate_batch` as a recipe wants it; holds the identifier and the automata of one metadata version.

    Raises:
        UserError: the identifier can't be opened, or is another one than where the job was started.
    """

    def __init__(self, config: RunConfig, *, metadata_uri: str, identifier_version: str) -> None:
        self._curation = config.curation
        self._identifier = open_identifier(config)
        if self._identifier.version != identifier_version:
            raise UserError(
                f"identifier {config.curation.identifier} is {self._identifier.version} on this node, "
                f"and {identifier_version} where the job was started"
            )
        self._matcher = open_matcher(config, metadata_uri, revision=REVISION)

    def __call__(self, pairs: pa.Table) -> pa.Table:
        """PAIR in, ANNOTATED out. Several threads may share one."""
        return annotate_batch(
            pairs,
            self._identifier,
            self._matcher,
            min_score=self._curation.min_language_score,
            joint=self._curation.joint_captions,
        )

    @property
    def num_reloads(self) -> int:
        """How often a language was loaded again under the matcher's budget."""
        return self._matcher.num_reloads


class Annotate:
    """Reads shards and writes their annotations."""

    def __init__(self, config: RunConfig, *, metadata_uri: str, annotations_uri: str, identifier_version: str) -> None:
        self._source = open_source(config)
        self._annotator = Annotator(config, metadata_uri=metadata_uri, identifier_version=identifier_version)
        self._batch_rows = config.curation.batch_rows
        self._annotations_uri = annotations_uri
        self._tally = Tally(config.pool.name)

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Rows of the manifest in, the numbers of the shards annotated out."""
        for shard in shards.to_pylist():
            self._annotate(shard["name"], shard["shard"])
        _log.info("%d languages loaded again under the matcher's budget so far", self._annotator.num_reloads)
        return shards.select(["shard"])

    def _annotate(self, name: str, shard: int) -> None:
        funnel = Funnel()
        uri = storage.shard_file(self._annotations_uri, shard)
        with (
            storage.publishing(uri) as (filesystem, path),
            pq.ParquetWriter(path, ANNOTATED, filesystem=filesystem, compression="zstd") as writer,
        ):
            for pairs in self._source.read_captions(name, shard=shard, batch_rows=self._batch_rows, funnel=funnel):
                writer.write_table(self._annotator(pairs))
            writer.add_key_value_metadata(funnel_metadata(funnel))
        self._tally.add(funnel)


def read_annotations(annotations_uri: str, shard: int, *, columns: list[str] | None = None) -> pa.Table:
    """The annotations of a shard, as ANNOTATED or some of its columns."""
    return storage.read_table(storage.shard_file(annotations_uri, shard), columns=columns)


def apply_annotate(
    manifest: Manifest, config: RunConfig, *, metadata_uri: str, annotations_uri: str
) -> ray.data.Dataset:
    """Shards without annotations → the numbers of those annotated. Lazy."""
    return manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        Annotate,
        fn_constructor_args=(config,),
        fn_constructor_kwargs={
            "metadata_uri": metadata_uri,
            "annotations_uri": annotations_uri,
            "identifier_version": identifier_version(config),
        },
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=config.compute.matcher_threads,
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=config.compute.max_actors,
            max_concurrent_calls_per_actor=config.compute.matcher_threads,
            enable_true_multi_threading=True,
        ),
    )
