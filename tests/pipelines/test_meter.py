import pyarrow as pa
import pytest

from pipelines.checkpoint import Progress
from pipelines.learner import Step
from pipelines.meter import Meter


def batch(languages, shards):
    return pa.table({"language": languages, "epoch": [0] * len(shards), "shard": shards})


def test_report_puts_the_ranks_together():
    first, second = Meter(4), Meter(4)
    first.add(Step(1.0, 3.0, 0.1), batch(["en", "de"], [0, 1]))
    first.add(Step(3.0, 5.0, 0.2), batch(["en", "en"], [1, 2]))
    second.add(Step(5.0, 3.0, 0.1), batch(["ja", "en"], [0, 1]))
    second.add(Step(7.0, 5.0, 0.2), batch(["en", "en"], [2, 3]))
    told = []
    first.read(Progress(2, 8), logit_scale=2.0, gather=lambda own: told.append(own) or [own])
    metrics = second.read(Progress(2, 8), logit_scale=2.0, gather=lambda own: [*told, own])
    assert metrics["train/loss"] == pytest.approx(4.0)
    assert metrics["train/grad_norm"] == 4.0
    assert metrics["train/learning_rate"] == 0.2
    assert metrics["train/shards_per_batch"] == 3  # 1, 2 and 3, in the last batch
    assert metrics["train/language/en"] == 6 / 8
    assert metrics["train/language/de"] == metrics["train/language/ja"] == 1 / 8
    assert (metrics["step"], metrics["samples_seen"]) == (2, 8)


def test_rare_languages_are_named_together():
    meter = Meter(30)
    languages = [f"l{number:02}" for number in range(30)]
    meter.add(Step(1.0, 1.0, 0.1), batch(languages, list(range(30))))
    metrics = meter.read(Progress(1, 30), logit_scale=2.0, gather=lambda own: [own])
    shares = {name: share for name, share in metrics.items() if name.startswith("train/language/")}
    assert len(shares) == 21
    assert shares["train/language/others"] == pytest.approx(10 / 30)
    assert sum(shares.values()) == pytest.approx(1)


def test_rank_that_waits_longest_is_what_the_run_waits():
    meter = Meter(1)
    meter.add(Step(1.0, 1.0, 0.1), batch(["en"], [0]))
    metrics = meter.read(Progress(1, 1), logit_scale=2.0, gather=lambda own: [own, (own[0], 0.9, *own[2:])])
    assert metrics["train/data_wait_share"] == 0.9
