"""One closed configuration for everything: the command line, the jobs, Tune and MLflow see the same `RunConfig`.

A recipe is a YAML file that states only what differs from the defaults. What a result depends on stands apart from
`compute`, where it runs, and `tracking`, where it is recorded: those two never change an artefact's version.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import yaml
from pydantic import ValidationError, model_validator

from pipelines.config.base import Section, Uri
from pipelines.config.compute import ComputeConfig, TrackingConfig
from pipelines.config.curation import CurationConfig, IdentifierName
from pipelines.config.metadata import MetadataConfig
from pipelines.config.pool import PoolConfig, SampleConfig
from pipelines.config.sweep import SweepConfig
from pipelines.config.training import EvaluationConfig, FeedConfig, ModelConfig, TrainingConfig
from pipelines.errors import UserError


class RunConfig(Section):
    """Everything that a job needs to know."""

    recipe: str = "default"
    root: Uri = "state"
    seed: int = 0
    sample: SampleConfig = SampleConfig()
    pool: PoolConfig = PoolConfig()
    metadata: MetadataConfig = MetadataConfig()
    curation: CurationConfig = CurationConfig()
    feed: FeedConfig = FeedConfig()
    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    sweep: SweepConfig = SweepConfig()
    tracking: TrackingConfig = TrackingConfig()
    compute: ComputeConfig = ComputeConfig()

    @model_validator(mode="after")
    def _locks_what_is_trained(self) -> Self:
        if self.training.lock_images and self.model.pretrained is None:
            raise ValueError("training.lock_images needs model.pretrained: a fresh vision tower has nothing to keep")
        return self

    @model_validator(mode="after")
    def _matches_with_what_it_identifies(self) -> Self:
        if self.metadata.merged != (self.curation.identifier is IdentifierName.NONE):
            raise ValueError("metadata.merged and curation.identifier none go together: one list, and one language")
        return self

    @model_validator(mode="after")
    def _batch_divides(self) -> Self:
        most, least = self.compute.num_workers, self.compute.min_workers or self.compute.num_workers
        if least > most:
            raise ValueError(f"compute.min_workers {least} is more than compute.num_workers {most}")
        for number in range(least, most + 1):
            if self.training.global_batch_size % number:
                among = "" if least == most else f", of which there may be {least} to {most}"
                raise ValueError(
                    f"training.global_batch_size {self.training.global_batch_size} does not divide by "
                    f"compute.num_workers {number}{among}"
                )
        return self


def build_config(recipe: Mapping[str, Any], *, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration of a recipe's content, which is left as it is.

    Args:
        recipe: nested keys and values.
        overrides: `a.b=c`, c in YAML.

    Raises:
        UserError: unknown keys, impossible values; names the key's path.
    """
    content = copy.deepcopy(dict(recipe))
    for override in overrides:
        _apply(content, override)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise UserError("; ".join(describe(problem) for problem in error.errors())) from error


def _apply(content: dict[str, Any], override: str) -> None:
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise UserError(f"--set takes a.b=c, got {override!r}")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: looks like a date or a number, and is none
        raise UserError(f"--set {path}: {text!r} is no YAML value") from error
    *parents, key = path.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise UserError(f"--set {path}: {parent} is no section")
    content[key] = value


def describe(problem: Any) -> str:  # noqa: ANN401 - pydantic's error details
    """A problem in a few words, with the path of its key."""
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown key {path}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{path}: {message}" if path else message
