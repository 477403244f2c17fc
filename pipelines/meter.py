"""What happened since the last report: measured on each rank, and put together over all of them."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checkpoint import Progress
from pipelines.learner import Step

_MOST_LANGUAGES = 20  # that are named in a report
OTHER_LANGUAGES = "others"

Gather = Callable[[Any], Sequence[Any]]


@dataclass
class Meter:
    """Of one rank; a new one begins after each report."""

    global_batch_size: int
    started: float = field(default_factory=time.perf_counter)
    waited: float = 0.0
    losses: list[float] = field(default_factory=list)
    last: Step | None = None
    grad_norms: list[float] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    items: list[tuple[int, int]] = field(default_factory=list)  # (epoch, shard) in the last batch

    def add(self, step: Step, batch: pa.Table) -> None:
        """A step was taken."""
        self.last = step
        self.losses.append(step.loss)
        self.grad_norms.append(step.grad_norm)
        for count in pc.value_counts(batch["language"]).to_pylist():
            self.languages[count["values"]] += count["counts"]
        items = batch.select(["epoch", "shard"]).group_by(["epoch", "shard"]).aggregate([])
        self.items = list(zip(items["epoch"].to_pylist(), items["shard"].to_pylist(), strict=True))

    def read(self, progress: Progress, *, logit_scale: float, gather: Gather) -> dict[str, float]:
        """The metrics of all ranks since the last report, by their names in the record; all ranks call it together."""
        if self.last is None:
            raise RuntimeError("nothing was measured since the last report")
        elapsed = time.perf_counter() - self.started
        ranks = gather((statistics.fmean(self.losses), self.waited / elapsed, self.languages, self.items))
        losses, waits, languages, items = zip(*ranks, strict=True)
        return {
            "step": progress.step,
            "samples_seen": progress.samples_seen,
            "train/loss": statistics.fmean(losses),
            "train/grad_norm": statistics.fmean(self.grad_norms),
            "train/learning_rate": self.last.learning_rate,
            "train/logit_scale": logit_scale,
            "train/samples_per_s": len(self.losses) * self.global_batch_size / elapsed,
            "train/data_wait_share": max(waits),  # the others wait for the last one
            "train/shards_per_batch": len({item for of_rank in items for item in of_rank}),
            **_shares(sum(languages, Counter())),
        }


def _shares(languages: Counter[str]) -> dict[str, float]:
    """The share of the most frequent languages, and of all others together."""
    total = languages.total()
    named = languages.most_common(_MOST_LANGUAGES)
    shares = {f"train/language/{language}": rows / total for language, rows in named}
    if len(languages) > len(named):
        shares[f"train/language/{OTHER_LANGUAGES}"] = 1 - sum(shares.values())
    return shares
