"""A cluster that grows and shrinks by itself, on one machine: Ray's autoscaler over its fake provider of nodes.

    python -m tests.autoscaling RECIPE.json JOB …

Runs jobs of `ray_jobs` one after another on a cluster whose head has no CPUs, and notes each second how many nodes of
each kind there are. Ends with a line of JSON: for each job its exit status and the counts while it ran, and the counts
afterwards, until all nodes have gone. To be run in a PID namespace of its own, for Ray's processes must not outlive it,
and with the cluster's token in its environment, which Ray reads when it is imported.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import ray
import yaml

from pipelines.config.compute import NodeKind
from pipelines.labels import DATA_NODES, GPU_NODES
from pipelines.machines import NODES, alive, announce

RAY = Path(sys.executable).with_name("ray")
PORT = 6401
HEAD_ID = "fffffffffffffffffffffffffffffffffffffffffffffffffff00000"  # that the fake provider gives to a head
SLOT = {"gpu_slot": 1}  # stands for a GPU
IDLE_MINUTES = 0.2
OBJECTS = 150 << 20
KINDS = {
    "data": NodeKind(count=3, cpus=2, labels=DATA_NODES),
    "gpu": NodeKind(count=2, cpus=3, resources=SLOT, labels=GPU_NODES),  # larger: who needs a CPU alone gets the other
}


def definition(address):
    """What the autoscaler reads."""
    provider = {
        "type": "external",
        "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
        "gcs_address": f"{address}:{PORT}",
        "head_node_id": HEAD_ID,
        "launch_multiple": True,
        "use_node_id_as_ip": True,
        "disable_node_updaters": True,
        "disable_launch_config_check": True,
    }
    lists = ["setup_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands"]
    lists += ["worker_start_ray_commands", "initialization_commands", "cluster_synced_files", "rsync_exclude"]
    return {
        "cluster_name": "autoscaled",
        "max_workers": sum(kind.count for kind in KINDS.values()),
        "idle_timeout_minutes": IDLE_MINUTES,
        "upscaling_speed": 10.0,
        "provider": provider,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        **{name: [] for name in [*lists, "rsync_filter"]},
        "file_mounts_sync_continuously": False,
        "head_node_type": "ray.head.default",
        "head_node": {},
        "worker_nodes": {},
        "available_node_types": {"ray.head.default": {"resources": {"CPU": 0}, "max_workers": 0, "node_config": {}}}
        | {name: node_type(kind) for name, kind in KINDS.items()},
    }


def node_type(kind):
    resources = {"CPU": int(kind.cpus), "object_store_memory": OBJECTS, **kind.resources}
    counts = {"min_workers": 0, "max_workers": kind.count}
    return {"resources": resources, "labels": kind.labels, "node_config": {}, **counts}


def counted():
    """How many nodes of each kind there are."""
    found = Counter(dict.fromkeys(KINDS, 0))
    for node in alive():
        found.update(name for name, kind in KINDS.items() if kind.labels.items() <= node["Labels"].items())
    return dict(found)


def run_job(recipe, job, environment):
    """Its exit status, the end of what it wrote, and the counts while it ran."""
    command = [sys.executable, "-m", f"ray_jobs.{job}", "--recipe", recipe, "--json"]
    with tempfile.TemporaryFile("w+") as written:
        process = subprocess.Popen(command, env=environment, stdout=written, stderr=written)
        counts = []
        while process.poll() is None:
            counts.append(counted())
            time.sleep(1)
        written.seek(0)
        return {"status": process.returncode, "written": written.read()[-3000:], "counts": counts}


def until_gone(seconds):
    """The counts until no node is left, or time is up."""
    counts, deadline = [counted()], time.monotonic() + seconds
    while any(counts[-1].values()) and time.monotonic() < deadline:
        time.sleep(1)
        counts.append(counted())
    return counts


def main():
    recipe, jobs = sys.argv[1], sys.argv[2:]
    address = ray.util.get_node_ip_address()
    with tempfile.TemporaryDirectory(prefix="ray-") as name:
        folder = Path(name)
        (folder / "cluster.yaml").write_text(yaml.safe_dump(definition(address)))
        environment = {**os.environ, NODES: announce(list(KINDS.values())), "RAY_USAGE_STATS_ENABLED": "0"}
        of_head = {
            "RAY_FAKE_CLUSTER": "1",
            "RAY_enable_autoscaler_v2": "1",
            "RAY_CLOUD_INSTANCE_ID": HEAD_ID,
            "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD_ID,
            "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        }
        options = [f"--port={PORT}", "--num-cpus=0", f"--object-store-memory={OBJECTS}", f"--temp-dir={folder / 'r'}"]
        command = [RAY, "start", "--head", *options, f"--autoscaling-config={folder / 'cluster.yaml'}", "--block"]
        with (folder / "log").open("w+") as log:
            head = subprocess.Popen(
                [*command, "--include-dashboard=false"], env=environment | of_head, stdout=log, stderr=log
            )
            while "Ray runtime started" not in (folder / "log").read_text():
                assert head.poll() is None, (folder / "log").read_text()[-2000:]
                time.sleep(0.2)
        ray.init(address=f"{address}:{PORT}", log_to_driver=False)
        told = {"before": counted(), "jobs": {}}
        for job in jobs:
            told["jobs"][job] = run_job(recipe, job, environment | {"RAY_ADDRESS": f"{address}:{PORT}"})
        told["after"] = until_gone(120)
        ray.shutdown()
        head.kill()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
