"""Training runs from outside: what a recipe's run is called, and what is noted of it in its folder."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass, field
from typing import Any

from metaclip_core.balancing import ENGLISH
from metaclip_core.scaling import scale_worldwide
from pipelines import storage
from pipelines.config import RunConfig, build_config
from pipelines.config.training import Scale
from pipelines.curate import CurationResult, load_curation
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.tracking import Record, tracking_uri

_log = logging.getLogger(__name__)

REVISION = 2
_BEGUN = "run.json"
_RESULT = "result.json"


@dataclass(frozen=True)
class TrainResult:
    """What a finished run was and made."""

    run_name: str
    checkpoint_uri: str
    model_uri: str
    mlflow_run_id: str
    samples_seen: int
    failed: dict[str, int]  # drawn rows that could not be trained on, by reason
    left_over: int  # drawn rows that no full batch needed
    metrics: dict[str, float] = field(default_factory=dict)  # of the last checkpoint


def run_name(config: RunConfig, curated: Curated) -> str:
    """The name of the run with this configuration: what its result depends on is in it, where it runs is not."""
    content = config.model_dump(mode="json", include={"seed", "feed", "model", "training"}, exclude={"feed": {"mode"}})
    version = storage.version_of(
        "run",
        REVISION,
        thresholds=curated.version,
        manifest=curated.manifest_digest,
        **content,
    )
    return f"{config.recipe}-{version[:8]}"


def scaled(config: RunConfig, curation: CurationResult) -> RunConfig:
    """The recipe with the global batch that its `training.scale` asks for.

    Raises:
        UserError: the draw keeps no English pair to scale by, or the batch does not divide by the workers.
    """
    training = config.training
    if training.scale is Scale.AS_STATED:
        return config
    drawn = sum(curation.expected.values())
    try:
        found = scale_worldwide(
            english_share=curation.expected.get(ENGLISH, 0.0) / max(drawn, 1e-9),
            steps=training.steps,
            global_batch_size=training.global_batch_size,
            multiple_of=training.scale_multiple,
        )
    except ValueError as error:
        raise UserError(f"training.scale {training.scale}: {error}") from error
    _log.warning(
        "%.1f%% of the drawn pairs are English: a global batch of %s, not %s, and %s pairs seen in %s steps",
        100 * curation.expected[ENGLISH] / drawn,
        *(f"{number:,}" for number in (found.global_batch_size, training.global_batch_size)),
        *(f"{number:,}" for number in (found.seen_pairs, training.steps)),
    )
    recipe = config.model_dump(mode="json")
    recipe["training"] |= {"global_batch_size": found.global_batch_size, "scale": Scale.AS_STATED}
    return build_config(recipe)


def write_begun(run_uri: str, config: RunConfig, curated: Curated, mlflow_run_id: str) -> None:
    """Note that a run begins, of what, and where its record is."""
    recipe = config.model_dump(mode="json", exclude={"tracking"})  # a server's address may hold a password
    content = {"mlflow_run_id": mlflow_run_id, "curated": dataclasses.asdict(curated), "config": recipe}
    storage.write_json(storage.join(run_uri, _BEGUN), content)


def read_begun(run_uri: str) -> dict[str, Any]:
    """What `write_begun` noted: `mlflow_run_id`, `curated` and `config`. Raises FileNotFoundError."""
    content: dict[str, Any] = storage.read_json(storage.join(run_uri, _BEGUN))
    return content


def write_result(run_uri: str, result: TrainResult) -> None:
    """Note that a run is finished: nothing of it is left to do."""
    storage.write_json(storage.join(run_uri, _RESULT), dataclasses.asdict(result))


def read_result(run_uri: str) -> TrainResult:
    """What `write_result` noted. Raises FileNotFoundError."""
    return TrainResult(**storage.read_json(storage.join(run_uri, _RESULT)))


def load_result(config: RunConfig) -> TrainResult:
    """The finished run of this configuration.

    Raises:
        UserError: there is none.
    """
    curation = load_curation(config)
    name = run_name(scaled(config, curation), curation.curated)
    try:
        return read_result(storage.Layout(config.root).run(name))
    except FileNotFoundError as error:
        raise UserError(f"run {name} is not finished under {config.root}: run `metaclip train` first") from error


def load_record(config: RunConfig, result: TrainResult) -> Record:
    """The MLflow run of a finished run."""
    return Record(tracking_uri(config.tracking), result.mlflow_run_id)
