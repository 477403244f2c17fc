"""Progress bars of long work, on standard error, so that standard output stays a result."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.config.training import TrainingConfig


class StepBars:
    """One bar for each named step: called with (step, done, of)."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, step: str, done: int, of: int) -> None:
        """Show that `done` of `of` are done."""
        if step not in self._tasks:
            self._tasks[step] = self._progress.add_task(step, detail="")
        self._progress.update(self._tasks[step], completed=done, total=of)


class TrainingBar:
    """Steps of a training run, with what the workers last reported."""

    def __init__(self, progress: Progress, training: TrainingConfig) -> None:
        self._progress = progress
        self._task = progress.add_task("train", total=training.steps, detail="starting the workers")

    def __call__(self, report: dict[str, Any]) -> None:
        """Show a report of the workers."""
        detail = (
            f"loss {report['train/loss']:.2f} · {report['train/samples_per_s']:,.0f} pairs/s · "
            f"data wait {report['train/data_wait_share']:.0%}"
        )
        self._progress.update(self._task, completed=report["step"], detail=detail)


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars while the block runs; they stay when it ends."""
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=2) as progress:
        yield progress
