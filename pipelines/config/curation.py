"""From captions to thresholds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from metaclip_core.neighbours import MAX_DISTANCE
from metaclip_core.text import NormaliserMode
from pipelines.config.base import Count, Section, Share, Uri

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


class JointCaptions(StrEnum):
    """When the captions of an image are identified as one text."""

    NEVER = "never"
    UNSURE = "unsure"  # where each alone is below `min_language_score`


class CurationConfig(Section):
    """Captions → languages, entries, thresholds."""

    identifier: IdentifierName = IdentifierName.LID176
    identifier_uri: Annotated[Uri | None, Field(validate_default=True)] = None  # relative to the root
    joint_captions: JointCaptions = JointCaptions.NEVER
    min_language_score: Share = 0.3
    normaliser: NormaliserMode = NormaliserMode.UNICODE
    duplicates: DuplicatePolicy = DuplicatePolicy.FIRST
    near_duplicates: NearDuplicatePolicy = NearDuplicatePolicy.KEEP
    near_distance: Distance = 20
    benchmarks: list[Uri] = Field(default_factory=list)  # files of `metaclip hashes`; relative to the root
    benchmark_distance: Distance = 20
    p: Share | None = 0.06  # share of matches in tail entries; or t_en
    t_en: Count | None = None
    sample_rows: Count = 1_000_000  # at most so many pairs, on average, stand in the sample of annotations
    batch_rows: Count = 16_384  # matched at once: languages take turns under a budget
    max_dropped: dict[str, Share] = Field(default_factory=lambda: {"shard_unreadable": 0.01, "shard_truncated": 0.05})

    @field_validator("identifier_uri")
    @classmethod
    def _file_of_its_identifier(cls, uri: str | None, info: ValidationInfo) -> str | None:
        identifier = info.data.get("identifier")
        if identifier is IdentifierName.FASTTEXT and not uri:
            raise ValueError("identifier fasttext needs the URI of a model file")
        if identifier in {IdentifierName.LID176, IdentifierName.CLD2} and uri is not None:
            raise ValueError(f"identifier {identifier} takes no model file; did you mean identifier fasttext?")
        return uri

    @model_validator(mode="after")
    def _one_dial(self) -> Self:
        if (self.p is None) == (self.t_en is None):
            raise ValueError("give one of p and t_en, and set the other to null")
        return self
