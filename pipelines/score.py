"""Scoring: an installed classifier gives every pair a score in [0, 1].

A step for each classifier of the recipe, with resources of its own, and one file for each shard. What goes for its
score is decided later, so that another threshold costs no new pass. Nor do other metadata, for all pairs are scored,
whether or not they mention an entry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray

from metaclip_core.records import SCORES
from metaclip_core.scores import as_scores
from pipelines import annotate, storage
from pipelines.annotate import read_annotations
from pipelines.classifiers import Classifier, Installed, blaming, find_classifier
from pipelines.config import RunConfig
from pipelines.config.curation import ClassifierConfig
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.sources.base import open_source

_log = logging.getLogger(__name__)

REVISION = 1
_TEXTS = "captions.list.element.text"


def scores_version(classifier: ClassifierConfig, *, pool: dict[str, Any]) -> str:
    """The version of a classifier's scores; `pool` is what the annotations' version says of the pool.

    Raises:
        UserError: the classifier is not installed here.
    """
    installed = find_classifier(classifier)
    return storage.version_of(
        "scores",
        REVISION,
        pool=pool,
        annotate=annotate.REVISION,  # whose rows they are
        classifier=[installed.package, installed.name, installed.version],
        options=classifier.options,
    )


def score_batch(pairs: pa.Table, classifier: Classifier) -> pa.Table:
    """SCORES of pairs: columns row, captions and url, and image if the classifier reads images.

    A row whose image is null is not shown to the classifier, and gets no score.

    Raises:
        ScoreError: what the classifier gives are no scores.
    """
    shown = pairs.filter(pc.is_valid(pairs["image"])) if "image" in pairs.column_names else pairs
    given = classifier(shown.drop_columns(["row"])) if shown.num_rows else []
    scores = as_scores(given, num_rows=shown.num_rows)
    places = pc.index_in(pairs["row"], value_set=shown["row"].combine_chunks())
    return pa.table([pairs["row"], scores.take(places)], schema=SCORES)


class Score:
    """Writes the scores that one classifier gives to shards; holds the classifier."""

    def __init__(
        self, config: RunConfig, classifier: ClassifierConfig, *, annotations_uri: str, scores_uri: str, version: str
    ) -> None:
        self._source = open_source(config)
        self._config = classifier
        self._annotations_uri = annotations_uri
        self._scores_uri = scores_uri
        self._version = version

    @cached_property
    def _installed(self) -> Installed:
        installed = find_classifier(self._config)
        if installed.version != self._version:
            raise UserError(
                f"classifier {self._config.name!r} is {installed.version} on this node, "
                f"and {self._version} where the job was started"
            )
        return installed

    @cached_property
    def _classifier(self) -> Classifier:
        return self._installed.make(self._config.options)

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Rows of the manifest in; column problem out: null, or why the job must end.

        A sentence that travels as a row reaches the user as it is; raised, it would reach the driver as text of Ray's
        among stack traces. So the classifier is made here too, and not with this object.
        """
        try:
            for shard in shards.to_pylist():
                self._score(shard["name"], shard["shard"])
        except UserError as error:
            _log.exception("classifier %s", self._config.name)
            return pa.table({"problem": [str(error)]})
        return pa.table({"problem": pa.nulls(shards.num_rows, pa.string())})

    def _score(self, name: str, shard: int) -> None:
        classifier, scores = self._classifier, [SCORES.empty_table()]
        for batch in self._read(name, shard):
            with blaming(f"classifier {self._config.name!r} failed on shard {name}"):
                scores.append(score_batch(batch, classifier))
        storage.write_table(storage.shard_file(self._scores_uri, shard), pa.concat_tables(scores))

    def _read(self, name: str, shard: int) -> Iterator[pa.Table]:
        """The pairs of a shard in batches, as `score_batch` takes them."""
        columns = ["row", "url", _TEXTS, "image_offset", "image_length"]
        pairs = read_annotations(self._annotations_uri, shard, columns=columns)
        images: Iterator[Any] = iter(())
        if self._installed.reads_images:
            images = self._source.read_images(
                name, pairs["image_offset"].to_pylist(), pairs["image_length"].to_pylist()
            )
        for start in range(0, pairs.num_rows, self._config.batch_rows):
            batch = pairs.slice(start, self._config.batch_rows)
            table = pa.table({"row": batch["row"], "captions": _texts(batch), "url": batch["url"]})
            if self._installed.reads_images:
                read = (image if isinstance(image, bytes) else None for image in islice(images, batch.num_rows))
                table = table.append_column("image", pa.array(read, pa.binary()))
            yield table


def _texts(pairs: pa.Table) -> pa.ListArray:
    captions = pairs["captions"].combine_chunks()
    offsets = pc.cumulative_sum(pa.concat_arrays([pa.array([0], pa.int32()), pc.list_value_length(captions)]))
    return pa.ListArray.from_arrays(offsets, pc.list_flatten(captions).field("text"))


def read_scores(scores_uri: str, shard: int) -> pa.Table:
    """The scores of a shard, as SCORES."""
    return storage.read_table(storage.shard_file(scores_uri, shard))


def apply_score(
    manifest: Manifest, config: RunConfig, classifier: ClassifierConfig, *, annotations_uri: str, scores_uri: str
) -> ray.data.Dataset:
    """Shards without scores → column problem, a row for each shard. Lazy.

    Raises:
        UserError: the classifier is not installed here.
    """
    return manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        Score,
        fn_constructor_args=(config, classifier),
        fn_constructor_kwargs={
            "annotations_uri": annotations_uri,
            "scores_uri": scores_uri,
            "version": find_classifier(classifier).version,
        },
        batch_format="pyarrow",
        batch_size=1,
        num_cpus=classifier.num_cpus,
        num_gpus=classifier.num_gpus or None,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=classifier.max_actors),
    )
