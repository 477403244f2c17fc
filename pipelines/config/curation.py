"""From captions to thresholds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, Field, JsonValue, ValidationInfo, field_validator, model_validator

from metaclip_core.neighbours import MAX_DISTANCE
from metaclip_core.text import NormaliserMode
from pipelines.config.base import Count, Section, Share, Uri, without_keys

Distance = Annotated[int, Field(ge=0, le=MAX_DISTANCE)]  # bits of 256 in which the hashes of images differ


class DuplicatePolicy(StrEnum):
    """What happens to pairs with an id that the pool has already."""

    FIRST = "first"  # the first shard and row wins
    KEEP = "keep"


class NearDuplicatePolicy(StrEnum):
    """What happens to pairs whose image looks like that of an earlier pair."""

    KEEP = "keep"  # no image is looked at
    FIRST = "first"  # the first shard and row wins
    MERGE = "merge"  # likewise, and it gets the captions of the others


class IdentifierName(StrEnum):
    """What says which language a caption is in."""

    LID176 = "lid176"  # fastText's, installed with the program
    CLD2 = "cld2"  # the extra of this name
    FASTTEXT = "fasttext"  # the model file at `identifier_uri`
    NONE = "none"  # nothing: all captions are of one language, that of merged metadata


class JointCaptions(StrEnum):
    """When the captions of an image are identified as one text."""

    NEVER = "never"
    UNSURE = "unsure"  # where each alone is below `min_language_score`


class ClassifierConfig(Section):
    """A classifier of pairs that is installed, and what it takes for a pair to go."""

    name: str  # of its entry point in the group `metaclip.classifiers`
    options: Annotated[dict[str, JsonValue], AfterValidator(without_keys)] = Field(default_factory=dict)  # of its own
    drop_above: Share | None = None  # scores; or drop_below
    drop_below: Share | None = None
    batch_rows: Count = 256
    num_cpus: Annotated[float, Field(gt=0)] = 1  # of an actor
    num_gpus: Annotated[float, Field(ge=0)] = 0
    max_actors: Count = 1

    @model_validator(mode="after")
    def _one_threshold(self) -> Self:
        if (self.drop_above is None) == (self.drop_below is None):
            raise ValueError("give one of drop_above and drop_below")
        return self


class ThresholdScope(StrEnum):
    """Who has a threshold of its own."""

    LANGUAGE = "language"  # each language the t that gives it the common tail share
    POOL = "pool"  # all languages that of English


class CurationConfig(Section):
    """Captions → languages, entries, thresholds."""

    identifier: IdentifierName = IdentifierName.LID176
    identifier_uri: Annotated[Uri | None, Field(validate_default=True)] = None  # relative to the root
    joint_captions: JointCaptions = JointCaptions.NEVER
    min_language_score: Share = 0.3
    normaliser: NormaliserMode = NormaliserMode.UNICODE
    block_lists: list[Uri] = Field(default_factory=list)  # files; relative to the root
    opt_out_lists: list[Uri] = Field(default_factory=list)  # likewise
    classifiers: list[ClassifierConfig] = Field(default_factory=list)
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST
    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    near_distance: Distance = 20
    benchmarks: list[Uri] = Field(default_factory=list)  # files of `metaclip hashes`; relative to the root
    benchmark_distance: Distance = 20
    p: Share | None = 0.06  # share of matches in tail entries; or t_en
    t_en: Count | None = None
    thresholds: ThresholdScope = ThresholdScope.LANGUAGE
    sample_rows: Count = 1_000_000  # at most so many pairs, on average, stand in the sample of annotations
    batch_rows: Count = 16_384  # matched at once: languages take turns under a budget
    max_dropped: dict[str, Share] = Field(
        default_factory=lambda: {"shard_unreadable": 0.01, "shard_truncated": 0.05, "unscored": 0.05}
    )

    @field_validator("identifier_uri")
    @classmethod
    def _file_of_its_identifier(cls, uri: str | None, info: ValidationInfo) -> str | None:
        identifier = info.data.get("identifier")
        if identifier is IdentifierName.FASTTEXT and not uri:
            raise ValueError("identifier fasttext needs the URI of a model file")
        if identifier in set(IdentifierName) - {IdentifierName.FASTTEXT} and uri is not None:
            raise ValueError(f"identifier {identifier} takes no model file; did you mean identifier fasttext?")
        return uri

    @field_validator("classifiers")
    @classmethod
    def _each_once(cls, classifiers: list[ClassifierConfig]) -> list[ClassifierConfig]:
        names = [classifier.name for classifier in classifiers]
        if len(set(names)) < len(names):
            raise ValueError("names a classifier twice")
        return classifiers

    @model_validator(mode="after")
    def _one_dial(self) -> Self:
        if (self.p is None) == (self.t_en is None):
            raise ValueError("give one of p and t_en, and set the other to null")
        return self
