"""A cloud's notice becomes a drain, in time."""

import json
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import requests

from pipelines.spot import Cloud, Notice, drain_command, notices, watch
from tests.metadata_server import running_metadata


def in_seconds(seconds):
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def deadline(notice):
    return int(drain_command("head:6379", "ab", notice)[-1].rpartition("=")[2])


def test_quiet_cloud_gives_no_notice():
    with running_metadata() as metadata:
        for cloud in Cloud:
            source = notices(cloud, url=metadata.url)
            assert source.look() is None
            assert source.look() is None
    assert metadata.tokens == 1


def test_aws_notice_has_the_time_that_is_left():
    with running_metadata(notice={"action": "terminate", "time": in_seconds(120)}) as metadata:
        notice = notices(Cloud.AWS, url=metadata.url).look()
    assert 100 < notice.remaining_s <= 120
    assert 95 <= deadline(notice) <= 115
    assert "terminate" in notice.told


def test_gcp_notice_has_thirty_seconds():
    with running_metadata(preempted=True) as metadata:
        notice = notices(Cloud.GCP, url=metadata.url).look()
    assert deadline(notice) == 25


@pytest.mark.parametrize("remaining_s", [-10, 0, 3])
def test_notice_that_comes_late_still_drains(remaining_s):
    assert deadline(Notice("late", remaining_s)) == 1


def test_token_of_the_metadata_service_that_ended_is_renewed():
    with running_metadata() as metadata:
        source = notices(Cloud.AWS, url=metadata.url)
        source.look()
        metadata.tokens += 1  # the server knows the old one no more
        metadata.notice = {"action": "stop", "time": in_seconds(60)}
        assert source.look() is None
        assert source.look().told.startswith("EC2 will stop")


def test_watch_outlives_a_metadata_server_that_fails():
    with running_metadata(failures=3, notice={"action": "terminate", "time": in_seconds(120)}) as metadata:
        with pytest.raises(requests.HTTPError):
            notices(Cloud.AWS, url=metadata.url).look()
        assert watch(notices(Cloud.AWS, url=metadata.url), period_s=0.01).remaining_s > 0


def test_watch_waits_until_the_notice_comes():
    with running_metadata() as metadata:
        found = []
        thread = threading.Thread(
            target=lambda: found.append(watch(notices(Cloud.GCP, url=metadata.url), period_s=0.01)), daemon=True
        )
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        metadata.preempted = True
        thread.join(20)
    assert found


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with running_metadata(preempted=True) as metadata:
        assert notices(Cloud.GCP, url=metadata.url).look() is not None


_CLUSTER = """
import json, sys
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100 << 20})
print(json.dumps({"address": cluster.address}), flush=True)
sys.stdin.readline()
cluster.shutdown()
"""
_NODES = """
import json, sys, time
from ray._private.state import GlobalState
from ray._raylet import GcsClientOptions

state = GlobalState()
state._initialize_global_state(
    GcsClientOptions.create(sys.argv[1], None, allow_cluster_id_nil=True, fetch_cluster_id_if_nil=False)
)
for _ in range(100):  # an idle node that is drained leaves at once
    (node,) = state.node_table()
    if not node["Alive"] or state.get_draining_nodes():
        break
    time.sleep(0.2)
print(json.dumps([node["NodeID"], node["Alive"], list(state.get_draining_nodes())]))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_notice_drains_the_node_of_a_real_cluster():
    with (
        running_metadata() as metadata,
        subprocess.Popen(
            [sys.executable, "-c", _CLUSTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as cluster,
    ):
        address = json.loads(cluster.stdout.readline())["address"]
        watcher = [sys.executable, "-m", "ray_jobs.spot", "--cloud", "aws", "--address", address]
        watcher += ["--metadata-url", metadata.url, "--period", "0.2"]
        with subprocess.Popen(watcher, stdout=subprocess.PIPE, text=True) as watching:
            while metadata.tokens == 0:
                time.sleep(0.2)
            metadata.notice = {"action": "terminate", "time": in_seconds(120)}
            told = watching.stdout.read()
        looked = subprocess.run(
            [sys.executable, "-c", _NODES, address], capture_output=True, text=True, timeout=200, check=False
        )
        cluster.communicate("\n", timeout=60)
    assert watching.returncode == 0
    node_id, alive, draining = json.loads(looked.stdout)
    assert node_id in told
    assert draining == [node_id] or not alive
