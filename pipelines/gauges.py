"""What Prometheus sees of a training run: few numbers, and no tag that grows with the data but the reason of a drop."""

from __future__ import annotations

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from metaclip_core.funnel import Funnel
from metaclip_core.ledger import Ledger

_SHOWN = {  # metric of a report: name in Prometheus, description
    "step": ("metaclip_train_step", "Optimiser steps taken."),
    "samples_seen": ("metaclip_train_samples_seen", "Pairs trained on along the lineage of checkpoints."),
    "train/loss": ("metaclip_train_loss", "Contrastive loss, mean since the last report."),
    "train/grad_norm": ("metaclip_train_grad_norm", "Gradient norm before clipping, mean since the last report."),
    "train/logit_scale": ("metaclip_train_logit_scale", "Natural logarithm of the factor on cosines."),
    "train/samples_per_s": ("metaclip_train_samples_per_second", "Pairs a second, all workers."),
    "train/data_wait_share": ("metaclip_train_data_wait_share", "Share of time spent waiting for data, 0 to 1."),
    "train/shards_per_batch": ("metaclip_train_shards_per_batch", "Distinct shards in a global batch."),
}


class Gauges:
    """Of one run; made once in a process."""

    def __init__(self, run_name: str) -> None:
        tags = {"run": run_name}
        self._shown = {metric: _gauge(name, description, tags=tags) for metric, (name, description) in _SHOWN.items()}
        self._open = _gauge("metaclip_ledger_open_items", "Shards of an epoch begun and not ended.", tags=tags)
        self._failed = _gauge(
            "metaclip_train_failed_rows", "Drawn pairs that failed, by reason.", tags=tags, keys=("reason",)
        )

    def show(self, metrics: Mapping[str, float], ledger: Ledger) -> None:
        """Show a report, and what rank 0's ledger holds."""
        for metric, gauge in self._shown.items():
            gauge.set(metrics[metric])
        self._open.set(len(ledger.items))
        for reason, rows in ledger.totals.failed.items():
            self._failed.set(rows, tags={"reason": reason})


class Tally:
    """Rows that curation has read, and why it dropped some; made once in a process."""

    def __init__(self, pool: str) -> None:
        self._rows_in = Counter("metaclip_curate_rows_in", "Rows that entered a stage.", tag_keys=("pool", "stage"))
        self._dropped = Counter(
            "metaclip_curate_rows_dropped", "Rows that a stage dropped.", tag_keys=("pool", "stage", "reason")
        )
        for counter in (self._rows_in, self._dropped):
            counter.set_default_tags({"pool": pool})

    def add(self, funnel: Funnel) -> None:
        """Count what became of a shard."""
        for stage, rows in funnel.rows_in.items():
            if rows:
                self._rows_in.inc(rows, tags={"stage": stage})
        for (stage, reason), rows in funnel.dropped.items():
            self._dropped.inc(rows, tags={"stage": stage, "reason": reason})


def _gauge(name: str, description: str, *, tags: dict[str, str], keys: tuple[str, ...] = ()) -> Gauge:
    gauge = Gauge(name, description, tag_keys=(*tags, *keys))
    gauge.set_default_tags(tags)
    return gauge
