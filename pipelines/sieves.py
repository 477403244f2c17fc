"""Sieves: for what a pair may be left out, whatever the rest of the pool holds.

The recipe's sieves, in their order: block lists, opt-out lists, each classifier's threshold, benchmarks. Each has
its line in the funnel; a pair is counted at the first that holds it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.blocklists import BlockList, ImageHash, find_listed, find_listed_images
from metaclip_core.records import DropReason, Stage, classifier_stage
from metaclip_core.scores import judge_scores
from pipelines.config import RunConfig
from pipelines.config.curation import ClassifierConfig
from pipelines.contamination import ContaminationSieve
from pipelines.curated import Curated
from pipelines.lists import open_lists
from pipelines.score import read_scores
from pipelines.sources.base import open_source

COLUMNS = ["pair_id", "url", "row", "image_offset", "image_length"]  # of ANNOTATED, that sieves are shown


class Sieve(Protocol):
    """One thing that pairs are held back for."""

    @property
    def stage(self) -> str:
        """Its line in the funnel."""

    def judge(self, pairs: pa.Table, *, name: str, shard: int) -> pa.StringArray:
        """Why each pair is held back, or null.

        Args:
            pairs: COLUMNS of the pairs of one shard that no sieve before has held back.
            name: of the shard.
            shard: its number, by which files that lie beside the annotations are found.
        """


def open_sieves(config: RunConfig, curated: Curated) -> list[Sieve]:
    """The sieves of the recipe.

    Raises:
        UserError: a list can't be read.
    """
    curation = config.curation
    blocked, opted_out = (open_lists(uris, config) for uris in (curation.block_lists, curation.opt_out_lists))
    digests = ImageDigests(config, sorted({*blocked.image_hashes, *opted_out.image_hashes}))
    sieves: list[Sieve] = []
    if curation.block_lists:
        reasons = {"by_address": DropReason.BLOCKED_URL, "by_image": DropReason.BLOCKED_IMAGE}
        sieves.append(ListSieve(Stage.BLOCK, blocked, digests, **reasons))
    if curation.opt_out_lists:
        reasons = {"by_address": DropReason.OPTED_OUT, "by_image": DropReason.OPTED_OUT}
        sieves.append(ListSieve(Stage.OPT_OUT, opted_out, digests, **reasons))
    for classifier, scores_uri in zip(curation.classifiers, curated.scores_uris, strict=True):
        sieves.append(ScoreSieve(classifier, scores_uri))
    if curated.contamination_uri is not None:
        uris = {"hashes_uri": str(curated.hashes_uri), "contamination_uri": curated.contamination_uri}
        sieves.append(ContaminationSieve(config, **uris))
    return sieves


class ImageDigests:
    """Hashes of a shard's images. A sieve asks for no row that one before it has not, so each image is read once."""

    def __init__(self, config: RunConfig, algorithms: Sequence[ImageHash]) -> None:
        self._source = open_source(config)
        self._algorithms = algorithms
        self._shard, self._digests = -1, pa.table({})

    def of(self, pairs: pa.Table, *, name: str, shard: int) -> pa.Table:
        """A row for each pair: fault, why its image can't be read or null; and hex digits by each hash that is used."""
        if shard != self._shard:
            self._shard, self._digests = shard, self._read(pairs, name)
        places = pc.index_in(pairs["row"], value_set=self._digests["row"].combine_chunks())
        return self._digests.take(places)

    def _read(self, pairs: pa.Table, name: str) -> pa.Table:
        faults: list[str | None] = []
        digests: dict[ImageHash, list[str | None]] = {algorithm: [] for algorithm in self._algorithms}
        places = pairs["image_offset"].to_pylist(), pairs["image_length"].to_pylist()
        for image in self._source.read_images(name, *places):
            faults.append(image if isinstance(image, DropReason) else None)
            for algorithm, of_algorithm in digests.items():
                of_algorithm.append(None if isinstance(image, DropReason) else algorithm.digest(image))
        columns = {str(algorithm): pa.array(of_algorithm, pa.string()) for algorithm, of_algorithm in digests.items()}
        return pa.table({"row": pairs["row"], "fault": pa.array(faults, pa.string()), **columns})


class ListSieve:
    """Holds back what a list names. An image that can't be read, and might be listed by its hash, goes for that."""

    def __init__(
        self,
        stage: Stage,
        block_list: BlockList,
        digests: ImageDigests,
        *,
        by_address: DropReason,
        by_image: DropReason,
    ) -> None:
        self.stage = str(stage)
        self._list = block_list
        self._digests = digests
        self._by_address = by_address
        self._by_image = by_image

    def judge(self, pairs: pa.Table, *, name: str, shard: int) -> pa.StringArray:
        """As `Sieve.judge` says. Images are read only where a list holds image hashes."""
        listed = find_listed(pairs, self._list)
        reasons = pc.if_else(listed, str(self._by_address), pa.scalar(None, pa.string()))
        if not self._list.image_hashes:
            return reasons
        rest = pc.invert(listed)
        digests = self._digests.of(pairs.filter(rest), name=name, shard=shard)
        listed = find_listed_images(digests, self._list)
        by_image = pc.if_else(listed, str(self._by_image), digests["fault"].combine_chunks())
        return pc.replace_with_mask(reasons, rest, by_image)


class ScoreSieve:
    """Holds back what a classifier's score, or the want of one, decides."""

    def __init__(self, classifier: ClassifierConfig, scores_uri: str) -> None:
        self.stage = classifier_stage(classifier.name)
        self._classifier = classifier
        self._scores_uri = scores_uri

    def judge(self, pairs: pa.Table, *, name: str, shard: int) -> pa.StringArray:  # noqa: ARG002 - a sieve's interface
        """As `Sieve.judge` says."""
        scores = read_scores(self._scores_uri, shard)
        places = pc.index_in(pairs["row"], value_set=scores["row"].combine_chunks()).combine_chunks()
        if places.null_count:
            raise RuntimeError(f"{self._scores_uri} has no scores for {places.null_count} pairs of shard {shard}")
        return judge_scores(
            scores["score"].combine_chunks().take(places),
            drop_above=self._classifier.drop_above,
            drop_below=self._classifier.drop_below,
        )
