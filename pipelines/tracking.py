"""The record of runs in MLflow; the only module that knows it.

One MLflow run belongs to one training run across all its restarts: the driver makes it and keeps its id under the
run's root. By default the record is a sqlite file in a local folder, also when the root is a bucket.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # jobs print results there

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
from mlflow.utils.git_utils import get_git_commit
from mlflow.utils.mlflow_tags import (
    MLFLOW_DATASET_CONTEXT,
    MLFLOW_GIT_COMMIT,
    MLFLOW_PARENT_RUN_ID,
    MLFLOW_RUN_NAME,
)

from pipelines.config import RunConfig
from pipelines.config.compute import TrackingConfig
from pipelines.curated import DataSet
from pipelines.errors import UserError
from pipelines.storage import first_line

_CARD_TAG, _PLACE_TAG = "card", "place"
_MAX_PER_CALL = 100  # params and tags that MLflow takes at once
_MAX_METRICS_PER_CALL = 1_000

_log = logging.getLogger(__name__)


def tracking_uri(tracking: TrackingConfig) -> str:
    """The recipe's server, or the sqlite file in the local state folder."""
    if tracking.uri is not None:
        return tracking.uri
    return f"sqlite:///{_state(tracking) / 'mlflow.db'}"


def local_paths_absolute(tracking: TrackingConfig) -> TrackingConfig:
    """The same record, for a process that stands in another folder."""
    uri, sqlite = tracking.uri, "sqlite:///"
    if uri is not None and uri.startswith(sqlite):
        uri = f"{sqlite}{Path(uri.removeprefix(sqlite)).resolve()}"
    return tracking.model_copy(update={"uri": uri, "state": str(Path(tracking.state).expanduser().resolve())})


def nested_in(run_id: str) -> dict[str, str]:
    """The tags of a run that stands below another."""
    return {MLFLOW_PARENT_RUN_ID: run_id}


def ui_command(tracking: TrackingConfig) -> str:
    """The command that opens the MLflow UI on this record."""
    return f"{Path(sys.executable).with_name('mlflow')} ui --backend-store-uri {tracking_uri(tracking)}"


def _state(tracking: TrackingConfig) -> Path:
    folder = Path(tracking.state).expanduser().resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class TrackingError(UserError):
    """The tracking server did not take what it was given."""


@contextmanager
def _answering(uri: str) -> Iterator[None]:
    """Turns what MLflow raises into a sentence."""
    try:
        yield
    except MlflowException as error:
        raise TrackingError(f"MLflow at {uri} does not answer: {first_line(error)}") from error


@contextmanager
def forgiving(what: str) -> Iterator[None]:
    """For what must not fail with the record: says that the record lacks it."""
    try:
        yield
    except TrackingError as error:
        _log.warning("%s is not in the record: %s", what, error)


@dataclass(frozen=True)
class Record:
    """One MLflow run. Its methods raise TrackingError."""

    uri: str
    run_id: str

    @property
    def _client(self) -> MlflowClient:
        return MlflowClient(self.uri)

    def log_metrics(self, metrics: Mapping[str, float], *, step: int) -> None:
        """Metrics of one step."""
        now = int(time.time() * 1000)
        told = [Metric(name, float(v), now, step) for name, v in metrics.items()]
        with _answering(self.uri):
            for start in range(0, len(told), _MAX_METRICS_PER_CALL):
                self._client.log_batch(self.run_id, told[start : start + _MAX_METRICS_PER_CALL])

    def history(self, names: Sequence[str]) -> dict[int, dict[str, float]]:
        """Metrics by step; of those that were logged twice for a step, the last."""
        found: dict[int, dict[str, float]] = {}
        with _answering(self.uri):
            for name in names:
                for metric in self._client.get_metric_history(self.run_id, name):
                    found.setdefault(metric.step, {})[name] = metric.value
        return found

    def log_folder(self, folder: Path, name: str) -> None:
        """The files of a local folder as artefacts below `name`."""
        with _answering(self.uri):
            self._client.log_artifacts(self.run_id, str(folder), name)

    def log_data_set(self, data_set: DataSet) -> None:
        """What the run is about; the same one twice is one."""
        scheme, separator, _ = data_set.uri.partition("://")
        told = Dataset(
            name=data_set.name,
            digest=data_set.digest,
            source_type=scheme if separator else "local",
            source=json.dumps({"uri": data_set.uri}),
            profile=json.dumps(dict(data_set.profile)),
        )
        with _answering(self.uri):
            self._client.log_inputs(self.run_id, [DatasetInput(told, [InputTag(MLFLOW_DATASET_CONTEXT, "training")])])

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Tags that people filter by."""
        with _answering(self.uri):
            self._client.log_batch(self.run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def has_files(self, name: str) -> bool:
        """Whether there are artefacts below `name`."""
        with _answering(self.uri):
            return bool(self._client.list_artifacts(self.run_id, name))

    @contextmanager
    def measuring_machine(self) -> Iterator[None]:
        """While the block runs, log CPU, memory, disk, network and GPUs of this machine."""
        monitor = SystemMetricsMonitor(  # type: ignore[no-untyped-call]
            self.run_id, resume_logging=True, tracking_uri=self.uri
        )
        monitor.start()  # type: ignore[no-untyped-call]
        try:
            yield
        finally:
            monitor.finish()  # type: ignore[no-untyped-call]

    def register(self, model: str, folder: str, *, alias: str | None, description: str) -> int:
        """Make artefacts of this run a version of a registered model.

        Args:
            model: the registered model; made where missing.
            folder: the artefacts; those of one run are one version, however often they are registered.
            alias: names this version from now on, and no other.
            description: in Markdown.

        Returns:
            The version.
        """
        with _answering(self.uri):
            client = self._client
            if not client.search_registered_models(f"name = '{model}'"):
                client.create_registered_model(model)
            known = [one for one in client.search_model_versions(f"name = '{model}'") if one.run_id == self.run_id]
            if known:
                version = known[0].version
            else:
                source = f"runs:/{self.run_id}/{folder}"
                version = client.create_model_version(model, source=source, run_id=self.run_id).version
            client.update_model_version(model, version, description)
            if alias is not None:
                client.set_registered_model_alias(model, alias, version)
        return int(version)

    def finish(self, status: str) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        with _answering(self.uri):
            self._client.set_terminated(self.run_id, status)

    def resume(self) -> None:
        """The run goes on."""
        with _answering(self.uri):
            self._client.update_run(self.run_id, status="RUNNING")


def start_record(config: RunConfig, *, name: str, place: str, tags: Mapping[str, str]) -> Record:
    """The MLflow run of what is about to begin, with its configuration.

    Args:
        config: the recipe.
        name: that people see.
        place: the folder of what is recorded. A run that was made for it by a process that died before it could note
            the run's id there is taken up.
        tags: that people filter by.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    uri = tracking_uri(config.tracking)
    with _answering(uri):
        client = MlflowClient(uri)
        experiment = _experiment(client, config.tracking)
        place = hashlib.sha256(place.encode()).hexdigest()  # a path may hold what no filter can quote
        begun = client.search_runs([experiment], f"tags.{_PLACE_TAG} = '{place}' and attributes.status = 'RUNNING'")
        lost = [run for run in begun if not run.data.metrics]
        all_tags = {MLFLOW_RUN_NAME: name, _PLACE_TAG: place, **_commit(), **tags}
        run = lost[0] if lost else client.create_run(experiment, tags=all_tags)
        # the section `tracking` is left out: a server's address may hold a password
        content = config.model_dump(mode="json", exclude={"tracking"})
        # names of dials and arms are free text, which keys of params are not
        content["sweep"] = {key: json.dumps(value, ensure_ascii=False) for key, value in content["sweep"].items()}
        # MLflow changes none that it has
        params = [Param(key, str(value)) for key, value in _flatten(content) if key not in run.data.params]
        for start in range(0, len(params), _MAX_PER_CALL):
            client.log_batch(run.info.run_id, params=params[start : start + _MAX_PER_CALL])
    return Record(uri, run.info.run_id)


def _commit() -> dict[str, str]:
    """The commit of this program, where it runs from a checkout."""
    commit = get_git_commit(str(Path(__file__).parent))
    return {MLFLOW_GIT_COMMIT: commit} if commit else {}


def record_card(tracking: TrackingConfig, data_set: DataSet, folder: Path) -> Record:
    """Log a data set with the files of its card, in a run of its own: one for each digest.

    Raises:
        TrackingError: the tracking server does not answer.
    """
    uri = tracking_uri(tracking)
    with _answering(uri):
        client = MlflowClient(uri)
        experiment = _experiment(client, tracking)
        found = client.search_runs([experiment], f"tags.{_CARD_TAG} = '{data_set.digest}'", max_results=1)
        if found:
            record = Record(uri, found[0].info.run_id)
        else:
            tags = {MLFLOW_RUN_NAME: f"{data_set.name}-{data_set.digest}", _CARD_TAG: data_set.digest}
            record = Record(uri, client.create_run(experiment, tags=tags).info.run_id)
        record.log_data_set(data_set)
        record.log_folder(folder, _CARD_TAG)
        record.finish("FINISHED")
    return record


def _experiment(client: MlflowClient, tracking: TrackingConfig) -> str:
    known = client.get_experiment_by_name(tracking.experiment)
    if known is not None:
        return str(known.experiment_id)
    # a sqlite record would put artefacts below the current folder
    artifacts = (_state(tracking) / "artifacts").as_uri() if tracking.uri is None else None
    return client.create_experiment(tracking.experiment, artifact_location=artifacts)


def _flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in content.items():
        if isinstance(value, Mapping):
            pairs += _flatten(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", value))
    return pairs
