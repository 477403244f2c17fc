"""The record on real servers: sqlite for one person, PostgreSQL and an object store for many; read by their API."""

import json
import time
import urllib.request
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipelines.config import build_config
from pipelines.curated import DataSet
from pipelines.delivery import Delivery
from pipelines.tracking import TrackingError, forgiving, nested_in, start_record
from tests.stores import BUCKET
from tests.tracking_servers import browse, running_postgres, running_tracking_server

pytestmark = pytest.mark.timeout(600)

METRIC = "eval/imagenet/en/top1"
DATA_SET = DataSet(name="numbers", digest="0123456789abcdef", uri="s3://pools/numbers", profile={"pairs": 480.0})


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A client that says at once that a server is away."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def server(request, tmp_path_factory):
    """A tracking server; the one for many keeps its artefacts in a bucket, whose keys no client has."""
    folder = tmp_path_factory.mktemp("tracking")
    if request.param == "sqlite":
        backend, artifacts = f"sqlite:///{folder / 'mlflow.db'}", str(folder / "artifacts")
        with running_tracking_server(folder, backend=backend, artifacts=artifacts) as running:
            yield running
        return
    store = request.getfixturevalue("store")
    with running_postgres(folder / "database") as backend:
        options = {"artifacts": f"s3://{BUCKET}/mlflow", "environment": store.environment()}
        options["environment"]["MLFLOW_S3_ENDPOINT_URL"] = store.endpoint
        with running_tracking_server(folder, backend=backend, **options) as running:
            yield running


SWEEP = {"arms": {"one, t (of all) %": {"curation.thresholds": "pool"}}}  # free text in names


def config_of(server):
    return build_config({"recipe": "test", "sweep": SWEEP, "tracking": {"uri": server.uri, "experiment": "records"}})


def ask(server, path, **arguments):
    """The answer of the server's REST API."""
    url = f"{server.uri}/api/2.0/mlflow/{path}"
    body = json.dumps(arguments).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - of loopback
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - likewise
        return json.loads(answer.read())


def trial_of(server, parent, number, folder):
    """A nested run as a training leaves it."""
    tags = {**nested_in(parent.run_id), "recipe": "test", "pool": "numbers", "p": "0.06", "t_en": "20"}
    record = start_record(config_of(server), name=f"trial-{number}", place=f"trial-{number}", tags=tags)
    record.log_data_set(DATA_SET)
    for step in range(1, 6):
        record.log_metrics({"train/loss": 3.0 / step + number}, step=step)
    record.log_metrics({METRIC: 0.5 + 0.1 * number, "eval/numbers-10/mean/top1": 0.25}, step=5)
    record.log_folder(folder, "model")
    record.finish("FINISHED")
    return record


@pytest.fixture(scope="module")
def swept(server, tmp_path_factory):
    """A sweep's record: the parent, and two trials."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "README.md").write_text("# A model")
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 4096)
    parent = start_record(config_of(server), name="sweep", place="sweep", tags={"kind": "sweep"})
    trials = [trial_of(server, parent, number, folder) for number in range(2)]
    parent.finish("FINISHED")
    return parent, trials


def test_record_reads_back_through_the_api(server, swept):
    parent, trials = swept
    experiment = MlflowClient(server.uri).get_experiment_by_name("records")
    asked = f"tags.`mlflow.parentRunId` = '{parent.run_id}' and metrics.`{METRIC}` > 0.55"
    found = ask(server, "runs/search", experiment_ids=[experiment.experiment_id], filter=asked)["runs"]
    assert [run["info"]["run_id"] for run in found] == [trials[1].run_id]
    [run] = found
    metrics = {metric["key"]: metric["value"] for metric in run["data"]["metrics"]}
    assert metrics[METRIC] == pytest.approx(0.6)
    tags = {tag["key"]: tag["value"] for tag in run["data"]["tags"]}
    assert (tags["pool"], tags["t_en"]) == ("numbers", "20")
    assert {"key": "training.steps", "value": "1000"} in run["data"]["params"]
    [data_set] = run["inputs"]["dataset_inputs"]
    assert data_set["dataset"]["digest"] == DATA_SET.digest
    history = MlflowClient(server.uri).get_metric_history(trials[0].run_id, "train/loss")
    assert [metric.step for metric in history] == [1, 2, 3, 4, 5]


def test_run_that_was_lost_before_its_id_was_noted_is_taken_up(server):
    first, other = (start_record(config_of(server), name="lost", place=place, tags={}) for place in ("a'\"b", "b"))
    changed = config_of(server).model_copy(update={"seed": 7})  # MLflow lets no parameter change
    again = start_record(changed, name="lost", place="a'\"b", tags={})
    assert again == first != other
    assert MlflowClient(server.uri).get_run(first.run_id).data.params["seed"] == "0"
    first.log_metrics({METRIC: 0.5}, step=1)  # noted somewhere, then; and its folder is gone
    assert start_record(changed, name="lost", place="a'\"b", tags={}) != first


def test_record_prints_nothing(server, capsys):
    start_record(config_of(server), name="silent", place="silent", tags={}).finish("FINISHED")
    assert capsys.readouterr().out == ""


def test_artefacts_go_through_the_server_both_ways(server, swept, tmp_path, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    _, trials = swept
    folder = Path(MlflowClient(server.uri).download_artifacts(trials[0].run_id, "model", str(tmp_path)))
    assert (folder / "model.safetensors").read_bytes() == bytes(range(256)) * 4096


def test_champion_is_the_version_that_was_crowned_last_and_one_for_each_run(server, swept):
    _, trials = swept
    versions = [
        trial.register("numbers", "model", alias="champion", description="# A model")
        for trial in (trials[0], trials[1], trials[1])
    ]
    assert versions[0] != versions[1] == versions[2]
    champion = MlflowClient(server.uri).get_model_version_by_alias("numbers", "champion")
    assert (int(champion.version), champion.run_id, champion.description) == (
        versions[1],
        trials[1].run_id,
        "# A model",
    )


def test_machine_is_measured_while_a_run_goes_on(server, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.2")
    record = start_record(config_of(server), name="measured", place="measured", tags={})
    client = MlflowClient(server.uri)
    with record.measuring_machine():
        deadline = time.monotonic() + 60
        while "system/cpu_utilization_percentage" not in client.get_run(record.run_id).data.metrics:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.slow
def test_pages_of_a_run_and_of_a_comparison_show_the_metrics(server, swept, tmp_path):
    _, trials = swept
    experiment = MlflowClient(server.uri).get_experiment_by_name("records").experiment_id
    run_page = browse(f"{server.uri}/#/experiments/{experiment}/runs/{trials[0].run_id}", tmp_path / "run.png")
    assert METRIC in run_page
    assert "train/loss" in run_page
    runs = json.dumps([trial.run_id for trial in trials]).replace('"', "%22").replace(" ", "")
    compare = f"{server.uri}/#/compare-runs?runs={runs}&experiments=%5B%22{experiment}%22%5D"
    comparison = browse(compare, tmp_path / "compare.png")
    assert METRIC in comparison
    assert all(f"trial-{number}" in comparison for number in range(2))
    assert all((tmp_path / name).stat().st_size > 20_000 for name in ("run.png", "compare.png"))


@pytest.fixture
def own_server(tmp_path):
    """A server for one test, which may go."""
    options = {"backend": f"sqlite:///{tmp_path / 'mlflow.db'}", "artifacts": str(tmp_path / "artifacts")}
    with running_tracking_server(tmp_path / "own", **options) as running:
        yield running


def test_metrics_of_a_server_that_goes_away_arrive_when_it_is_back(own_server):
    record = start_record(config_of(own_server), name="long", place="long", tags={})
    with Delivery(record, pause_s=0.2) as delivery:
        delivery.put({"step": 1, "train/loss": 1.0})
        deadline = time.monotonic() + 60
        while not MlflowClient(own_server.uri).get_metric_history(record.run_id, "train/loss"):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        own_server.stop()
        started = time.monotonic()
        for step in range(2, 40):
            delivery.put({"step": step, "train/loss": 1.0})
        assert time.monotonic() - started < 5
        with pytest.raises(TrackingError, match="does not answer"):
            record.set_tags({"a": "b"})
        with forgiving("the end of the run"):  # as a training ends
            record.finish("FINISHED")
        own_server.start()
    assert delivery.lost == 0
    history = MlflowClient(own_server.uri).get_metric_history(record.run_id, "train/loss")
    assert [metric.step for metric in history] == list(range(1, 40))
