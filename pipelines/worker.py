"""The training loop of one worker: stream → step → ledger → checkpoint. CPU and GPU share every line of it."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
import ray.train
import ray.train.torch
import torch
import torch.distributed as dist
from ray.train import CheckpointUploadMode

from metaclip_core.devices import without_bfloat16
from metaclip_core.ledger import Ledger
from metaclip_core.positions import Positions
from pipelines import checkpoint as checkpoints
from pipelines.board import board_of
from pipelines.checkpoint import Progress
from pipelines.config.training import Precision, TrainingConfig
from pipelines.diagnosis import write_diverged, write_stuck
from pipelines.gauges import Gauges
from pipelines.launch import WorkerSpec
from pipelines.learner import Learner
from pipelines.meter import Meter
from pipelines.places import note_places
from pipelines.start import load_start
from pipelines.stream import ExampleStream, consume
from pipelines.watchdog import Watchdog
from pipelines.window import window_of

_MOST_UNMIXED = 3  # reports in a row
_PAUSE_S = 0.1


class Ending(StrEnum):
    """Why all ranks stopped, at the same step."""

    FINISHED = "finished"
    DIVERGED = "diverged"  # the loss or its gradient was not finite
    UNMIXED = "unmixed"  # batches came from fewer shards than the recipe asks for
    STOPPED = "stopped"  # whoever reads the board asked for it
    REFUSED = "refused"  # before the first step: a device can't do what the recipe asks for


class _RefusedError(Exception):
    """Raised on all ranks, with the reason of the first that has one."""


def run_worker(spec: WorkerSpec, shard: ray.data.DataIterator) -> dict[str, Any]:
    """Train on `shard`, this rank's part of the stream.

    Returns:
        `step` at the end, `ending`, the same on all ranks, and the `reason` of a refusal.
    """
    rank = ray.train.get_context().get_world_rank()

    def tell(reason: str, stacks: str) -> None:
        write_stuck(spec.run_uri, rank=rank, reason=reason, stacks=stacks, when=int(time.time()))

    with Watchdog(spec.config.compute.stuck_after_s, tell) as watchdog:
        torch.set_num_threads(spec.config.compute.worker_threads)
        try:
            return _Worker(spec, shard, watchdog).run()
        except _RefusedError as refused:
            return {"step": 0, "ending": Ending.REFUSED.value, "reason": str(refused)}


class _Worker:
    """One rank: what it learns, its ledger, its part of the stream."""

    def __init__(self, spec: WorkerSpec, shard: ray.data.DataIterator, watchdog: Watchdog) -> None:
        self._spec = spec
        self._shard = shard
        self._watchdog = watchdog
        self._training: TrainingConfig = spec.config.training
        self._rank = ray.train.get_context().get_world_rank()
        self._num_ranks = ray.train.get_context().get_world_size()
        # what ranks tell each other beside gradients is on the host: a GPU need not be waited for
        self._hosts: Any = dist.new_group(backend="gloo") if self._num_ranks > 1 else None
        device = ray.train.torch.get_device()
        for reason in filter(None, self._gather(self._unfit(device))):
            raise _RefusedError(reason)
        if self._rank == 0:
            note_places(spec.run_uri)
        self._board = board_of(spec.run_name)
        self._answer: Any = None  # of the board, to the last report
        self._gauges = Gauges(spec.run_name) if self._rank == 0 else None
        self._progress = Progress(step=0, samples_seen=0)
        merged = Ledger(Positions(spec.curated.num_shards, spec.config.seed))
        checkpoint = ray.train.get_checkpoint()
        with nullcontext(None) if checkpoint is None else checkpoint.as_directory() as name:
            folder = None if name is None else Path(name)
            if folder is not None:
                self._progress = checkpoints.load_progress(folder)
                merged = checkpoints.load_ledger(folder)
            start = load_start(spec.config, spec.tokenizer_uri, fresh=folder is not None)
            self._learner = Learner(spec.config, start, folder, device=device, num_ranks=self._num_ranks)
        self._ledger = merged if self._rank == 0 else Ledger(merged.order)
        self._examples = iter(self._open_stream(merged))
        self._left = frozenset[str]()  # nodes whose end has been announced, and a checkpoint written
        self._unmixed = 0  # reports in a row
        self._aside: Path | None = None  # the last checkpoint, until it is uploaded
        self._aside_prefix = f"metaclip-{spec.run_name}-{self._rank:05d}-"
        for left in Path(tempfile.gettempdir()).glob(f"{self._aside_prefix}*"):  # by a worker that was killed
            shutil.rmtree(left, ignore_errors=True)

    def _unfit(self, device: torch.device) -> str | None:
        """Why this rank's device can't do what the recipe asks for."""
        return without_bfloat16(device) if self._training.precision is Precision.BFLOAT16 else None

    def _open_stream(self, merged: Ledger) -> ExampleStream:
        feed = self._spec.config.feed
        batch_rows = self._training.global_batch_size // self._num_ranks
        window = window_of(self._spec.run_name)
        if self._rank == 0:
            ray.get(window.start.remote(merged.to_table()))

        def open_window(offset: int) -> Any:  # noqa: ANN401 - Ray's batches are of any format
            if self._rank == 0:  # before its own turn, without which no rank's iteration begins
                ray.get(window.advance.remote(offset))
            return self._shard.iter_batches(
                batch_size=batch_rows,
                batch_format="pyarrow",
                prefetch_batches=2,
                local_shuffle_buffer_size=feed.shuffle_rows or None,
                local_shuffle_seed=self._spec.config.seed + offset,
            )

        return ExampleStream(
            open_window,
            self._ledger,
            ledger_id=merged.digest(),
            image_size=self._learner.shape.image_size,
            batch_rows=batch_rows,
            window_positions=feed.window_positions,
            all_ready=self._all_ready,
        )

    def _all_ready(self, ready: bool) -> bool:  # noqa: FBT001 - the question's answer
        if self._num_ranks == 1:
            return ready
        flag = torch.tensor(int(ready))
        dist.all_reduce(flag, dist.ReduceOp.MIN, group=self._hosts)
        return bool(flag.item())

    def _gather(self, told: Any) -> list[Any]:  # noqa: ANN401 - whatever ranks tell each other
        if self._num_ranks == 1:
            return [told]
        of_ranks = [None] * self._num_ranks
        dist.all_gather_object(of_ranks, told, group=self._hosts)
        return of_ranks

    def run(self) -> dict[str, Any]:
        """Train to the last step."""
        ending = self._train()
        return {"step": self._progress.step, "ending": ending.value}

    def _train(self) -> Ending:
        training = self._training
        meter = Meter(training.global_batch_size)
        waiting = self._fetch(meter) if self._progress.step < training.steps else None
        while waiting is not None:
            table, batch = waiting
            self._watchdog.beat(f"taking step {self._progress.step}")
            loss = self._learner.begin(batch)
            # the next batch is fetched while a GPU computes; what is fetched is not consumed
            is_last = self._progress.step + 1 == training.steps
            waiting = None if is_last else self._fetch(meter)
            step = self._learner.end(loss, step=self._progress.step)
            if not step.finite:
                self._diagnose(table, loss=step.loss)
                return Ending.DIVERGED
            consume(self._ledger, table)
            meter.add(step, table)
            done = self._progress.step + 1
            self._progress = Progress(done, done * training.global_batch_size)
            saves = done % training.checkpoint_every_steps == 0 or is_last or self._is_preempted()
            if saves or done % training.log_every_steps == 0:
                is_stopped = self._is_stopped()
                metrics = self._report(meter)
                meter = Meter(training.global_batch_size)
                if saves:
                    self._save(metrics)
                if self._is_unmixed(metrics):
                    return Ending.UNMIXED
                if is_stopped and not is_last:
                    return Ending.STOPPED
        return Ending.FINISHED

    def _fetch(self, meter: Meter) -> tuple[pa.Table, Any]:
        self._watchdog.beat("waiting for data")
        started = time.perf_counter()
        table = next(self._examples)
        meter.waited += time.perf_counter() - started
        return table, self._learner.to_device(table)

    def _is_preempted(self) -> bool:
        """Whether a node's end was announced since the last checkpoint for such a reason; the same on all ranks."""
        if self._progress.step % self._training.preemption_steps:
            return False
        announced = ray.train.get_preemption_info()
        nodes = frozenset(announced.preempted_node_to_ranks) if announced else frozenset()
        is_new = bool(nodes - self._left)
        self._left |= nodes
        return is_new

    def _is_unmixed(self, metrics: dict[str, float]) -> bool:
        is_under = metrics["train/shards_per_batch"] < self._spec.config.feed.min_shards_per_batch
        self._unmixed = self._unmixed + 1 if is_under else 0
        return self._unmixed >= _MOST_UNMIXED

    def _report(self, meter: Meter) -> dict[str, float]:
        """Metrics of all ranks, on the board and in Prometheus."""
        self._watchdog.beat("reporting")
        metrics = meter.read(self._progress, logit_scale=self._learner.logit_scale, gather=self._gather)
        if self._gauges is not None:
            self._gauges.show(metrics, self._ledger)
            self._answer = self._board.post.remote(metrics)
        return metrics

    def _is_stopped(self) -> bool:
        """Whether the board said so at the report before, which it has long answered; the same on all ranks."""
        told = self._answer is not None and ray.get(self._answer)
        return any(self._gather(told))

    def _save(self, metrics: dict[str, float]) -> None:
        """Write a checkpoint aside, and let it be uploaded beside what follows."""
        self._watchdog.beat("waiting for the upload of the last checkpoint")
        while self._aside is not None and self._aside.exists():  # one at a time, or disks would fill
            time.sleep(_PAUSE_S)
        self._watchdog.beat("writing a checkpoint")
        self._aside = folder = Path(tempfile.mkdtemp(prefix=self._aside_prefix))
        checkpoints.save_ledger(folder, self._ledger, rank=self._rank, gather=self._gather)
        self._learner.save(folder)
        if self._rank == 0:
            checkpoints.save_progress(folder, self._progress)
        ray.train.report(
            metrics,
            checkpoint=ray.train.Checkpoint.from_directory(folder),
            checkpoint_upload_mode=CheckpointUploadMode.ASYNC,  # which removes the folder
            validation=self._spec.config.training.validation_rows > 0,
        )

    def _diagnose(self, examples: pa.Table, *, loss: float) -> None:
        """Keep which rows the failing step was about."""
        self._watchdog.beat("writing a diagnosis")
        found = self._learner.examine(self._learner.to_device(examples))
        rows = examples.select(["epoch", "shard", "row", "language", "input_ids"])
        for name, column in found.items():
            rows = rows.append_column(name, pa.array(column.numpy()))
        state = {
            "loss_share": loss,
            "logit_scale": self._learner.logit_scale,
            "weights_finite": self._learner.weights_finite(),
        }
        write_diverged(self._spec.run_uri, step=self._progress.step, rank=self._rank, rows=rows, state=state)
