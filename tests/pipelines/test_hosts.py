"""Curation and training over several hosts, of which one falls silent and another dies."""

import json
import subprocess
import sys
import time

import pytest

from pipelines import storage
from pipelines.checkpoint import load_ledger
from pipelines.config import build_config
from pipelines.curate import load_curation
from pipelines.metadata import import_metadata
from tests.faults import evenly, faulty
from tests.hosts import allowed, running_hosts, running_network
from tests.promise import drawn_before
from tests.stores import BUCKET

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not allowed(), reason="this user may not make network namespaces"),
]

STEPS, BATCH = 120, 16


@pytest.fixture
def job(in_store, make_config, sample, tmp_path):
    """Run a command of a job on a host, for this long; a function."""
    pool = in_store.upload(sample, "hosts/pool")
    settings = [f"pool.uri={pool}", f"training.steps={STEPS}", "training.checkpoint_every_steps=6"]
    config = make_config(*settings, "compute.max_failures=5", root=f"s3://{BUCKET}/hosts/root")
    import_metadata(str(sample / "metadata"), config)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())

    def start(host, name, environment):
        command = [sys.executable, "-m", f"ray_jobs.{name}", "--recipe", str(recipe), "--json"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(host.command(*command), env=environment, **pipes)

    return config, start


def wait_until(holds, process, *, seconds):
    deadline = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.2)


def result_of(process):
    output, errors = process.communicate(timeout=500)
    assert process.returncode == 0, errors[-4000:]
    return json.loads(output.splitlines()[-1])


def test_a_host_that_is_cut_off_and_one_that_dies_change_no_count_and_lose_no_row(job, in_store, curated):
    config, start = job
    with (
        running_network() as network,
        faulty(in_store.endpoint, evenly(0.0), host=network.gateway) as endpoint,
        running_hosts(network, [0, 4, 4, 5, 5], in_store.environment(endpoint)) as (hosts, environment),
    ):
        head, *others = hosts
        curation = start(head, "curate", environment)
        wait_until(lambda: any("/annotations/" in f"/{name}" for name in files(in_store)), curation, seconds=300)
        others[0].cut_off()
        result_of(curation)
        assert counted(config) == counted(build_config(curated[0]))
        training = start(head, "train", environment)
        wait_until(lambda: any("checkpoint_" in name for name in files(in_store)), training, seconds=400)
        [victim, *_] = [host for host in others[1:] if host.runs("ray::RayTrain")]
        victim.kill()
        result = result_of(training)
    assert result["samples_seen"] == STEPS * BATCH
    assert_promise(config, result)


def counted(config):
    """The bytes of all counts."""
    return storage.read_bytes(storage.join(load_curation(config).curated.counts_uri, "counts.parquet"))


def files(store):
    """Names under the root."""
    return store.names("hosts/root")


def assert_promise(config, result):
    with storage.local_copy(result["checkpoint_uri"]) as folder:
        ledger = load_ledger(folder)
    run_uri = storage.Layout(config.root).run(result["run_name"])
    left_over = storage.read_table(storage.join(run_uri, "leftover.parquet")).num_rows
    failed = sum(ledger.totals.failed.values())
    assert ledger.totals.consumed + failed + left_over == len(drawn_before(config, ledger))
