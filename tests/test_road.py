"""The whole road, small: sample → metadata → curate → train → evaluate → report → the model from MLflow again."""

import json
import subprocess
import sys

import pytest
import torch
from mlflow import MlflowClient
from transformers import AutoModel, AutoProcessor

METRIC = "eval/numbers-10/en/top1"


@pytest.mark.road
@pytest.mark.ray
@pytest.mark.timeout(300)
def test_road_from_sample_to_a_model_loaded_from_mlflow(tmp_path):
    root, overrides = tmp_path / "root", []
    for override in (
        "sample.num_images=400",
        "sample.shard_rows=50",
        "curation.p=0.3",
        "model.vocab_size=600",
        "training.steps=8",
        "training.warmup_steps=2",
        "training.global_batch_size=32",
        "training.checkpoint_every_steps=4",
        "training.log_every_steps=2",
        "evaluation.sets=[sample/evaluation/numbers-10]",
        f"tracking.state={tmp_path / 'state'}",
    ):
        overrides += ["--set", override]

    def metaclip(command, *options):
        program = [sys.executable, "-c", "from ray_jobs.cli import main; main()"]
        arguments = [command, *options, "--root", root, *overrides]
        done = subprocess.run([*program, *arguments], capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.splitlines()

    output = metaclip("demo")
    assert any("numbers-10" in line for line in output)
    assert (root / "reports").is_dir()
    trained = json.loads(metaclip("train", "--json")[-1])  # finished: it says what it made
    assert trained["samples_seen"] == 8 * 32

    client = MlflowClient(f"sqlite:///{tmp_path / 'state' / 'mlflow.db'}")
    run = client.get_run(trained["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["training.steps"] == "8"
    assert 0 <= run.data.metrics[METRIC] <= 1
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "train/loss")] == [2, 4, 6, 8]
    logged = [entry.path for entry in client.list_artifacts(run.info.run_id, "report")]
    assert logged == ["report/index.html", "report/plots"]
    images = {entry.path for entry in client.list_artifacts(run.info.run_id, "report/plots")}
    assert {"report/plots/languages.svg", "report/plots/head-and-tail-en.svg"} <= images
    assert any("confusion" in image for image in images)
    [data_set] = [logged.dataset for logged in run.inputs.dataset_inputs]
    card = f"{data_set.name}-{data_set.digest}"
    assert (root / "reports" / card / "index.html").is_file()
    link = f'href="../{card}/index.html"'  # from the report to the card, here and in the record
    assert link in (root / "reports" / trained["run_name"] / "index.html").read_text()
    assert {entry.path for entry in client.list_artifacts(run.info.run_id, card)} == {
        f"{card}/card.json",
        f"{card}/index.html",
    }
    folder = client.download_artifacts(run.info.run_id, "model", str(tmp_path))
    model, processor = AutoModel.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    inputs = processor(text=["seven"], images=[torch.zeros(3, 30, 30, dtype=torch.uint8)], return_tensors="pt")
    assert model(**inputs).logits_per_image.shape == (1, 1)
