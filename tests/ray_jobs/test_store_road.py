"""The road from a pool in an S3 server to a model there."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.config import build_config
from pipelines.metadata import import_metadata
from tests.faults import evenly, faulty
from tests.stores import BUCKET

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("rate", [0.0, 0.02])
def test_training_with_root_and_pool_in_a_store_ends_with_a_model_there(in_store, sample, tmp_path, rate):
    name = f"road-{rate}"
    recipe = {
        "recipe": "store",
        "root": f"s3://{BUCKET}/{name}/root",
        "pool": {"name": "numbers", "uri": in_store.upload(sample, f"{name}/pool")},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3},
        "feed": {"window_positions": 8, "interleaved_shards": 4, "chunk_rows": 4, "shuffle_rows": 32},
        "model": {"preset": "tiny", "vocab_size": 600},
        "training": {
            "steps": 12,
            "global_batch_size": 16,
            "warmup_steps": 2,
            "checkpoint_every_steps": 4,
            "log_every_steps": 2,
        },
        "tracking": {"state": str(tmp_path / "mlflow")},
        "compute": {"local_cpus": 6, "object_store_mb": 256, "timeout_s": 120},
    }
    import_metadata(str(sample / "metadata"), build_config(recipe))
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    with faulty(in_store.endpoint, evenly(rate)) as endpoint, tempfile.TemporaryDirectory(prefix="ray-") as folder:
        environment = {**os.environ, **in_store.environment(endpoint), "RAY_TMPDIR": folder}
        for job in ("curate", "train"):
            command = [sys.executable, "-m", f"ray_jobs.{job}", "--recipe", str(tmp_path / "recipe.yaml"), "--json"]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280, check=False)
            assert done.returncode == 0, done.stderr[-3_000:]
        logs = [path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()]
    files = in_store.files(f"s3://{BUCKET}/{name}/root")
    assert any(file.startswith("models/") and file.endswith("model.safetensors") for file in files)
    assert any("checkpoint_" in file for file in files)
    recorded = [path.read_bytes() for path in (tmp_path / "mlflow").rglob("*") if path.is_file()]
    for key in (in_store.access_key, in_store.secret_key):
        everything = [done.stdout.encode(), done.stderr.encode(), *files.values(), *logs, *recorded]
        assert not any(key.encode() in content for content in everything)
