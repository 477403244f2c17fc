"""A training run with a witness and a killer: a program for the fault tests.

    python witnessed_run.py RECIPE.json WITNESS_FOLDER [KIND@STEP …]

Every training worker notes, outside the ledger, which rows each step took and where its group began. When a step of the
list is reported, one process of that kind is killed with SIGKILL: `worker`, a rank; `data`, an actor of the stream;
`node`, the machine that the workers run on; `slot`, a machine with one worker. `grow` adds such a machine, `notice`
announces the end of one. Ends with the result as a line of JSON.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from pipelines.cluster import prepare_data
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.errors import UserError
from pipelines.metadata import import_metadata
from pipelines.training import train

WITNESS, HANG_AT = "METACLIP_TEST_WITNESS", "METACLIP_TEST_HANG_AT"
NODE = {"num_cpus": 5, "object_store_memory": 256 << 20}
SLOT = {"num_cpus": 1, "resources": {"slot": 1}, "object_store_memory": 100 << 20}  # room for one worker
RAY = Path(sys.executable).with_name("ray")
ON_NODES, ON_SLOTS = {"node"}, {"slot", "grow", "notice"}


def watch_workers():
    """Runs first in every Ray worker process: notes what the training loop consumes."""
    import pipelines.stream  # noqa: PLC0415 - in the worker, before it imports anything else

    consume = pipelines.stream.consume
    merge = pipelines.stream.Ledger.merge
    note = Path(os.environ[WITNESS]) / f"{os.getpid()}.jsonl"

    def write(content):
        with note.open("a") as file:
            file.write(json.dumps(content) + "\n")

    hang_at = int(os.environ.get(HANG_AT, "-1"))  # steps of this worker
    num_steps = 0

    def hang_for_ever():
        while True:
            time.sleep(1)

    def noted_consume(ledger, batch):
        nonlocal num_steps
        consume(ledger, batch)
        num_steps += 1
        if num_steps == hang_at:
            hang_for_ever()
        rows = zip(*(batch[name].to_pylist() for name in ("epoch", "shard", "row")), strict=True)
        write({"rows": list(rows)})

    def noted_merge(ledgers):
        merged = merge(ledgers)
        write({"resumed_after_rows": merged.totals.consumed})
        return merged

    pipelines.stream.consume = noted_consume
    pipelines.stream.Ledger.merge = staticmethod(noted_merge)


class Killer:
    """Kills, when the run reports the step."""

    def __init__(self, faults):
        self.faults = [(kind, int(step)) for kind, step in (fault.split("@") for fault in faults)]
        kinds = {kind for kind, _ in self.faults}
        self._cluster, self._nodes, self._started = None, [], None
        if kinds & (ON_NODES | ON_SLOTS):
            num_cpus = 1 if kinds & ON_NODES else 5
            head = {"num_cpus": num_cpus, "include_dashboard": False, "object_store_memory": 256 << 20}
            self._cluster = Cluster(initialize_head=True, head_node_args=head)
            spare = sum(kind in ON_NODES for kind, _ in self.faults)
            made = [NODE] * (1 + spare) if spare else [SLOT] if "grow" in kinds else [SLOT, SLOT]
            self._nodes = [self._cluster.add_node(**options) for options in made]

    def end(self):
        """Stop what it started, but for the machines of its own cluster, which end with this process."""
        if self._started is not None:
            self._started.terminate()
            self._started.wait(30)

    def connect(self, environment):
        """Ray's arguments."""
        if self._cluster is not None:
            ray.init(address=self._cluster.address, runtime_env=environment)
            return
        options = {"num_cpus": 6, "object_store_memory": 256 << 20, "include_dashboard": False}
        ray.init(address="local", **options, runtime_env=environment)

    def __call__(self, report):
        if self.faults and report["step"] >= self.faults[0][1]:
            with suppress(IndexError):  # between two windows there is no data actor: at the next report, then
                getattr(self, self.faults[0][0])()
                self.faults.pop(0)

    def worker(self):
        self._kill("ray::RayTrain")

    def data(self):
        self._kill("ray::MapWorker")

    def node(self):
        above = self._processes("ray::RayTrain")[-1].ppid()
        [node] = [one for one in self._nodes if one.all_processes["raylet"][0].process.pid == above]
        self._nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)

    def slot(self):
        self._cluster.remove_node(self._nodes.pop(), allow_graceful=False)

    def grow(self):
        start = ["start", "--address", self._cluster.address, "--num-cpus", "1", "--resources", '{"slot": 1}']
        command = [RAY, *start, "--object-store-memory", str(100 << 20), "--block"]
        self._started = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def notice(self):
        program = ["drain-node", "--address", self._cluster.address, "--node-id", self._nodes[-1].node_id]
        reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        deadline = ["--deadline-remaining-seconds", "60"]
        subprocess.run([RAY, *program, *reason, *deadline], check=True)

    def _kill(self, name):
        os.kill(self._processes(name)[-1].pid, signal.SIGKILL)

    def _processes(self, name):
        return [process for process in psutil.Process().children(recursive=True) if process.name().startswith(name)]


def main():
    recipe, witness, faults = Path(sys.argv[1]), sys.argv[2], sys.argv[3:]
    config = build_config(json.loads(recipe.read_text()))
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    hook = {"worker_process_setup_hook": watch_workers, "env_vars": {WITNESS: witness}}
    killer = Killer(faults)
    killer.connect(hook)
    prepare_data(config.compute)
    import_metadata(config.pool.uri + "/metadata", config)
    curate(config, progress=lambda *_: None)
    try:
        told = dataclasses.asdict(train(config, report=killer))
    except UserError as error:
        told = {"error": str(error)}
    else:
        assert not killer.faults, "the run ended before all was killed"
    ray.shutdown()  # before the machines go
    killer.end()
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
