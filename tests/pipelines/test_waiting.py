"""A run that waits for nodes says for what."""

import threading

import pytest

from pipelines import waiting
from pipelines.config.compute import ComputeConfig
from pipelines.waiting import missing, needed, telling


@pytest.fixture
def nodes(monkeypatch):
    there = [{"Resources": {"CPU": 8}}, {"Resources": {"CPU": 4, "GPU": 1, "slot": 2}}]
    monkeypatch.setattr(waiting, "alive", lambda: there)
    return there


def test_what_is_missing_is_told_beside_what_is_there(nodes):
    compute = ComputeConfig(num_workers=4, worker_cpus=2, use_gpu=True, worker_resources={"slot": 1})
    asked = needed(compute, data_cpus=3)
    assert asked == {"CPU": 11, "GPU": 4, "slot": 4}
    assert missing(asked) == "4 GPU (there are 1), 4 slot (there are 2)"


def test_elastic_run_waits_for_the_least_that_it_begins_with(nodes):
    compute = ComputeConfig(num_workers=8, min_workers=1, use_gpu=True, worker_cpus=2)
    assert missing(needed(compute, data_cpus=3)) is None


def test_it_is_told_again_while_it_lasts_and_ends_with_the_block(nodes, monkeypatch, caplog):
    monkeypatch.setattr(waiting, "FIRST_S", 0.01)
    monkeypatch.setattr(waiting, "AGAIN_S", 0.01)
    thrice, looks = threading.Event(), []

    def look():
        looks.append(None)
        if len(looks) == 3:
            thrice.set()
        return "4 GPU (there are 0)" if len(looks) % 2 else None

    with telling(look):
        assert thrice.wait(20)
    told = [record.message for record in caplog.records if record.name == "pipelines.waiting"]
    assert told[0] == "waiting for nodes: the run needs 4 GPU (there are 0)"
    assert len(told) >= 2
    assert "waiting" not in {thread.name for thread in threading.enumerate()}
