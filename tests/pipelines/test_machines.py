"""A job is held to the cluster that will carry it: the nodes that are there, or those that may come."""

import pytest

from pipelines import machines
from pipelines.cluster import check_classifiers, check_cpus, check_matcher_cpus, data_selector
from pipelines.config.compute import ComputeConfig, NodeKind
from pipelines.config.curation import ClassifierConfig
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES
from pipelines.machines import NODES, announce

DATA = NodeKind(count=3, cpus=16, labels=DATA_NODES)
GPU = NodeKind(count=2, cpus=96, gpus=8, resources={"slot": 2})


@pytest.fixture(autouse=True)
def nobody_there(monkeypatch):
    monkeypatch.setattr(machines, "alive", list)
    monkeypatch.delenv(NODES, raising=False)


def test_what_the_recipe_says_may_come_is_counted():
    compute = ComputeConfig(nodes=[DATA, GPU], num_workers=16, worker_cpus=12)
    check_cpus(compute, feed_cpus=1, validation_cpus=0)
    check_matcher_cpus(compute.model_copy(update={"matcher_threads": 96}))
    check_classifiers(compute, [ClassifierConfig(name="nsfw", drop_above=0.5, num_cpus=4, num_gpus=1)])
    assert data_selector(compute) == DATA_NODES


def test_what_a_cluster_announces_is_counted_unless_the_recipe_says_otherwise(monkeypatch):
    monkeypatch.setenv(NODES, announce([DATA, GPU]))
    found = machines.machines(ComputeConfig())
    assert [(machine.cpus, machine.gpus, machine.resources.get("slot", 0)) for machine in found] == [
        (16, 0, 0),
        (16, 0, 0),
        (16, 0, 0),
        (96, 8, 2),
        (96, 8, 2),
    ]
    assert len(machines.machines(ComputeConfig(nodes=[DATA]))) == 3


def test_more_than_can_ever_come_is_refused():
    compute = ComputeConfig(nodes=[DATA, GPU], num_workers=32, worker_cpus=12)
    with pytest.raises(UserError, match=r"32 workers × 12 \+ 3 .* and the cluster has 240"):
        check_cpus(compute, feed_cpus=1, validation_cpus=0)


@pytest.mark.parametrize("text", ["many", '[{"count": 0, "cpus": 4}]', '[{"count": 1, "cpus": 4, "disk": 5}]'])
def test_announcement_that_is_none_is_refused(monkeypatch, text):
    monkeypatch.setenv(NODES, text)
    with pytest.raises(UserError, match="METACLIP_NODES is no list of kinds of nodes"):
        machines.machines(ComputeConfig())
