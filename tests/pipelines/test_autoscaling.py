"""Nodes come when a job needs them and go when it has ended, under Ray's own autoscaler."""

import json
import os
import secrets
import shutil
import subprocess
import sys

import pytest

from pipelines.metadata import import_metadata
from tests.autoscaling import SLOT

_NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def _allowed():
    """Whether this user may have processes of their own."""
    if shutil.which(_NAMESPACE[0]) is None:
        return False
    return subprocess.run([*_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not _allowed(), reason="this user may not make PID namespaces"),
]


def run(config, tmp_path, *jobs):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    command = [*_NAMESPACE, sys.executable, "-m", "tests.autoscaling", str(recipe), *jobs]
    token = tmp_path / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def most(counts, kind):
    return max(count[kind] for count in counts)


def test_nodes_for_data_come_with_a_curation_and_those_for_gpus_with_a_training_and_all_go(
    make_config, sample, tmp_path
):
    config = make_config(
        "training.steps=20",
        "compute.max_actors=4",
        f"compute.worker_resources={json.dumps(SLOT)}",
        "compute.num_workers=2",
    )
    import_metadata(str(sample / "metadata"), config)
    told = run(config, tmp_path, "curate", "train")
    for job in told["jobs"].values():
        assert job["status"] == 0, job["written"]
    assert told["before"] == {"data": 0, "gpu": 0}
    curation, training = (told["jobs"][job]["counts"] for job in ("curate", "train"))
    assert (most(curation, "data") > 0, most(curation, "gpu")) == (True, 0)
    assert (most(training, "data") > 0, most(training, "gpu")) == (True, 2)
    assert told["after"][-1] == {"data": 0, "gpu": 0}
