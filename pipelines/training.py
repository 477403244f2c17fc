"""A training run: from a curation to a Hugging Face folder. Started again, it continues where it was."""

from __future__ import annotations

import functools
import tempfile
import time
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any

import ray
import ray.train
from ray.train import ValidationConfig, ValidationTaskConfig
from ray.train.torch import TorchConfig, TorchTrainer

from metaclip_core.balancing import ENGLISH
from metaclip_core.model_folder import save_model
from pipelines import checkpoint as checkpoints
from pipelines import storage
from pipelines.board import board_of
from pipelines.cluster import check_cpus, check_matcher_cpus, connected, data_cpus, data_options
from pipelines.config import RunConfig
from pipelines.config.training import FeedMode
from pipelines.curate import CurationResult, data_set, load_curation
from pipelines.diagnosis import diverged_uri, stuck_since, stuck_uri
from pipelines.errors import UserError
from pipelines.evaluation_sets import load_sets
from pipelines.feed import feed_cpus
from pipelines.held_out import write_held_out
from pipelines.launch import TRAIN, WorkerSpec, train_loop, training_stream, validate
from pipelines.leftover import find_leftover
from pipelines.manifest import load_manifest
from pipelines.model_card import write_model_card
from pipelines.places import release_places
from pipelines.reading import Readers, Report, ignore, reading
from pipelines.registered import remove_unregistered
from pipelines.runs import TrainResult, read_begun, read_result, run_name, scaled, write_begun, write_result
from pipelines.start import load_checkpoint, load_start
from pipelines.tasks import checked_tasks
from pipelines.tokenizer import make_tokenizer
from pipelines.tracking import Record, forgiving, start_record, tracking_uri
from pipelines.validation import CPUS as VALIDATION_CPUS
from pipelines.waiting import missing, needed, telling
from pipelines.window import window_of
from pipelines.worker import Ending

_TOKENIZER = "tokenizer"
_LEFTOVER = "leftover.parquet"
_HELD_OUT = "held_out.parquet"


class StoppedError(Exception):
    """Whoever reads the run's board had it stop."""


def train(
    config: RunConfig,
    *,
    report: Report,
    on_validation: Report = ignore,
    tags: Mapping[str, str] = MappingProxyType({}),
) -> TrainResult:
    """Train to the end, or what is left of it. Connects to Ray where nobody has yet.

    Args:
        config: the recipe.
        report: is handed each report of the workers, up to a second later.
        on_validation: likewise what a checkpoint is worth, with the step that it is of.
        tags: of the run's record, beside its own.

    Raises:
        UserError: no curation, too few CPUs, nothing to draw, unfit weights, or a run that diverged, was stuck, or
            mixed too few shards.
        StoppedError: it was told to stop before its end.
    """
    curation = load_curation(config)
    config = scaled(config, curation)
    name = run_name(config, curation.curated)
    try:
        return read_result(storage.Layout(config.root).run(name))
    except FileNotFoundError:
        pass
    with connected(config.compute):
        if config.feed.mode is FeedMode.RAW:
            check_matcher_cpus(config.compute)
        validation_cpus = VALIDATION_CPUS if config.training.validation_rows else 0
        check_cpus(config.compute, feed_cpus=feed_cpus(config), validation_cpus=validation_cpus)
        return _train(config, curation, name, tags, Readers(report, on_validation))


def _train(
    config: RunConfig, curation: CurationResult, name: str, tags: Mapping[str, str], readers: Readers
) -> TrainResult:
    curated, layout = curation.curated, storage.Layout(config.root)
    run_uri = layout.run(name)
    record = _prepare(config, curation, name, tags)
    spec = WorkerSpec(config, curated, name, storage.join(run_uri, _TOKENIZER))
    remove_unregistered(run_uri)
    trained = _fit(spec, record, readers)
    remove_unregistered(run_uri)
    checkpoint = trained.checkpoint
    outcome = trained.return_value  # type: ignore[attr-defined] # typed for Train V1
    if outcome["ending"] == Ending.STOPPED:
        with forgiving("the end of the run"):
            record.finish("KILLED")
        raise StoppedError(f"run {name} was stopped after step {outcome['step']}")
    if outcome["ending"] != Ending.FINISHED:
        with forgiving("the end of the run"):
            record.finish("FAILED")
        raise UserError(_describe(outcome, config, spec))
    if checkpoint is None:
        raise RuntimeError(f"run {name} ended without a checkpoint")
    with checkpoint.as_directory() as folder:
        ledger = checkpoints.load_ledger(Path(folder))
        _write_model(spec, Path(folder), layout.model(name), record)
    left_over = find_leftover(config, curated, ledger)
    storage.write_table(storage.join(run_uri, _LEFTOVER), left_over)
    result = TrainResult(
        run_name=name,
        checkpoint_uri=storage.join(run_uri, checkpoint.path.rstrip("/").rsplit("/", 1)[-1]),
        model_uri=layout.model(name),
        mlflow_run_id=record.run_id,
        samples_seen=ledger.totals.consumed,
        failed=dict(ledger.totals.failed),
        left_over=left_over.num_rows,
        metrics=_metrics(trained),
    )
    with forgiving("the end of the run"):
        record.finish("FINISHED")
    write_result(run_uri, result)  # last
    return result


def _metrics(trained: ray.train.Result) -> dict[str, float]:
    """What was last reported with a checkpoint; of a validation too."""
    return {name: value for name, value in (trained.metrics or {}).items() if isinstance(value, int | float)}


def _describe(outcome: dict[str, Any], config: RunConfig, spec: WorkerSpec) -> str:
    """Why a run stopped before its end."""
    step = outcome["step"]
    if outcome["ending"] == Ending.REFUSED:
        return f"run {spec.run_name} did not start: {outcome['reason']}"
    if outcome["ending"] == Ending.DIVERGED:
        return (
            f"run {spec.run_name} diverged: the gradient of step {step} is not finite; lower training.learning_rate. "
            f"The rows of the step are in {diverged_uri(spec.run_uri, step)}"
        )
    return (
        f"run {spec.run_name} was stopped at step {step}: its batches mix fewer shards than feed.min_shards_per_batch "
        f"{config.feed.min_shards_per_batch}; raise feed.interleaved_shards or feed.shuffle_rows, or lower "
        "feed.chunk_rows"
    )


def _prepare(config: RunConfig, curation: CurationResult, name: str, tags: Mapping[str, str]) -> Record:
    """What must be there before the first step; on a restart it is."""
    run_uri = storage.Layout(config.root).run(name)
    try:
        record = Record(tracking_uri(config.tracking), read_begun(run_uri)["mlflow_run_id"])
    except FileNotFoundError:
        pass
    else:
        with forgiving("the restart of the run"):
            record.resume()
            record.set_tags(tags)
        return record
    curated = curation.curated
    expected = sum(curation.expected.values())
    if expected < 1:
        raise UserError(f"an epoch of pool {curated.pool!r} is expected to keep no pair: nothing to train on")
    manifest = load_manifest(config).pinned(curated.num_shards, curated.manifest_digest)
    if config.feed.min_shards_per_batch > curated.num_shards:
        raise UserError(
            f"feed.min_shards_per_batch {config.feed.min_shards_per_batch} is more than the {curated.num_shards} "
            f"shards of pool {curated.pool!r}"
        )
    tokenizer_uri = storage.join(run_uri, _TOKENIZER)
    make_tokenizer(config, curation, manifest, uri=tokenizer_uri)
    if config.model.pretrained is not None:
        load_start(config, tokenizer_uri)  # raises in one process, before many do
    if config.training.validation_rows:
        checked_tasks(load_sets(config))  # raises before the first step
        write_held_out(config, curated, manifest, uri=storage.join(run_uri, _HELD_OUT))
    record = start_record(config, name=name, place=run_uri, tags={**_tags(config, curation), **tags})
    record.log_data_set(data_set(curation))
    write_begun(run_uri, config, curated, record.run_id)
    return record


def _tags(config: RunConfig, curation: CurationResult) -> dict[str, str]:
    """What people filter runs by."""
    curated, thresholds = curation.curated, curation.thresholds
    tags = {
        "recipe": config.recipe,
        "pool": curated.pool,
        "metadata": curated.metadata_uri.rsplit("/", 1)[-1],
        "curation": curated.version,
        "p": f"{thresholds.p:g}",
    }
    return tags | ({"t_en": str(thresholds.t[ENGLISH])} if ENGLISH in thresholds.t else {})


def _fit(spec: WorkerSpec, record: Record, readers: Readers) -> ray.train.Result:
    config, compute = spec.config, spec.config.compute
    release_places(spec.run_uri)
    held = board_of(spec.run_name), window_of(spec.run_name)  # by the driver, for workers come and go
    least, most = compute.min_workers, compute.num_workers
    num_workers: Any = most if least is None else (least, most)  # typed for Train V1
    filesystem, runs_path = storage.resolve(storage.Layout(config.root).runs())
    started = int(time.time())
    trainer = TorchTrainer(  # type: ignore[call-arg] # typed for Train V1
        train_loop,  # type: ignore[arg-type] # Ray's type knows no result of the loop
        train_loop_config={"spec": spec},
        scaling_config=ray.train.ScalingConfig(  # type: ignore[call-arg] # likewise
            num_workers=num_workers,
            use_gpu=compute.use_gpu,
            resources_per_worker={"CPU": compute.worker_cpus, **compute.worker_resources},
            elastic_resize_monitor_interval_s=compute.resize_check_s,
        ),
        torch_config=TorchConfig(timeout_s=compute.timeout_s),
        run_config=ray.train.RunConfig(
            name=spec.run_name,
            storage_path=runs_path,
            storage_filesystem=filesystem,  # the one that is patient with a store
            failure_config=ray.train.FailureConfig(max_failures=compute.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=config.training.checkpoints_kept,
                checkpoint_score_attribute=config.training.best_by,
                checkpoint_score_order=config.training.best_is,
            ),
        ),
        # a callable is called for each group of workers, so that a restart plans the stream anew
        datasets={TRAIN: functools.partial(training_stream, spec)},
        dataset_config=ray.train.DataConfig(execution_options=data_options(compute)),
        validation_config=_validation_config(spec),
    )
    machine = record.measuring_machine() if config.tracking.system_metrics else nullcontext()
    asked = needed(compute, data_cpus=data_cpus(compute, feed_cpus=feed_cpus(config)))
    with machine, reading(held[0], record, readers), telling(lambda: missing(asked)):
        try:
            return trainer.fit()
        except ray.train.TrainingFailedError as error:
            with forgiving("the end of the run"):
                record.finish("FAILED")
            if stuck := stuck_since(spec.run_uri, started):
                raise UserError(
                    f"run {spec.run_name} was stuck: {'; '.join(stuck[-2:])}; stacks are in {stuck_uri(spec.run_uri)}"
                ) from error
            raise


def _validation_config(spec: WorkerSpec) -> ValidationConfig | None:
    if not spec.config.training.validation_rows:
        return None
    arguments = {
        "config": spec.config.model_dump(mode="json"),
        "run_name": spec.run_name,
        "tokenizer_uri": spec.tokenizer_uri,
        "held_out_uri": storage.join(spec.run_uri, _HELD_OUT),
    }
    return ValidationConfig(
        validate,
        task_config=ValidationTaskConfig(fn_kwargs=arguments),
        # said, or in a sweep it would have to fit beside the trial's own process, which computes nothing
        ray_remote_kwargs={"num_cpus": VALIDATION_CPUS, "scheduling_strategy": "DEFAULT"},
    )


def _write_model(spec: WorkerSpec, checkpoint: Path, uri: str, record: Record) -> None:
    """The Hugging Face folder of a checkpoint, to `uri` and into the record."""
    found = load_checkpoint(spec.config, checkpoint, spec.tokenizer_uri)
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        save_model(found.model, found.tokenizer, Path(name))
        write_model_card(Path(name), spec.config, spec.curated, spec.run_name)
        storage.upload_folder(Path(name), uri)
        with forgiving("the model"):
            record.log_folder(Path(name), "model")
