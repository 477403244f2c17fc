"""What is watched is what is there: dashboard and alerts name metrics that the program has."""

import ast
import inspect
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from pipelines import gauges
from pipelines.definition_checks import check_files

CLUSTER = Path(__file__).parents[2] / "cluster"
MONITORING = CLUSTER / "monitoring"


def metrics_of_ours():
    """Names in Prometheus of all that `pipelines/gauges.py` makes; a counter's ends with _total."""
    names = set()
    for node in ast.walk(ast.parse(inspect.getsource(gauges))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("metaclip_"):
            names.add(node.value)
    counters = {name for name in names if name.startswith("metaclip_curate_")}
    return {f"ray_{name}_total" if name in counters else f"ray_{name}" for name in names}


def metrics_in(text):
    return set(re.findall(r"ray_metaclip_\w+", text))


def expressions(dashboard):
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.fixture(scope="module")
def dashboard():
    return json.loads((MONITORING / "grafana.json").read_text(encoding="utf-8"))


def test_dashboard_shows_every_metric_of_ours_and_no_other(dashboard):
    assert metrics_in("\n".join(expressions(dashboard))) == metrics_of_ours()


def test_panels_have_places_of_their_own(dashboard):
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels}) == len(panels)
    assert all(panel["description"] for panel in panels)


def test_variables_of_the_dashboard_are_used_and_defined(dashboard):
    defined = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", "\n".join(expressions(dashboard)))) | {"datasource"} == defined


def test_alerts_are_about_metrics_of_ours_and_say_what_is_the_matter():
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["annotations"]["summary"]
        assert metrics_in(rule["expr"]) <= metrics_of_ours()


@pytest.mark.parametrize("name", ["prometheus.yaml", "prometheus-kubernetes.yaml"])
def test_scrape_file_takes_the_alerts_along(name):
    content = yaml.safe_load((MONITORING / name).read_text(encoding="utf-8"))
    assert all((MONITORING / rules).is_file() for rules in content["rule_files"])
    assert content["scrape_configs"]


needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus is not installed")


def promtool(*arguments):
    command = [shutil.which("promtool"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
@pytest.mark.parametrize("name", ["prometheus.yaml", "prometheus-kubernetes.yaml"])
def test_prometheus_takes_the_scrape_file_and_the_alerts(tmp_path, name):
    text = (MONITORING / name).read_text(encoding="utf-8")
    text = text.replace("kubernetes_sd_configs: [{role: pod}]", "static_configs: []")  # Debian's build knows no pods
    (tmp_path / name).write_text(text)
    shutil.copy(MONITORING / "alerts.yaml", tmp_path)
    promtool("check", "config", tmp_path / name)


@needs_promtool
@pytest.mark.parametrize(
    ("alert", "series", "after", "labels_and_summary"),
    [
        (
            "TrainingStandsStill",
            {'ray_metaclip_train_step{run="a"}': "0+1x10 10x60", 'ray_metaclip_train_step{run="b"}': "0+1x70"},
            "60m",
            ({"severity": "page", "run": "a"}, "a has made no step for half an hour"),
        ),
        (
            "TrainingWaitsForData",
            {
                'ray_metaclip_train_data_wait_share{run="a"}': "0.5x60",
                'ray_metaclip_train_data_wait_share{run="b"}': "0.1x60",
            },
            "40m",
            ({"severity": "ticket", "run": "a"}, "a waits for data 50% of its time"),
        ),
        (
            "LossIsNoNumber",
            {'ray_metaclip_train_loss{run="a"}': "2 1 NaN", 'ray_metaclip_train_loss{run="b"}': "2 1 1"},
            "2m",
            ({"severity": "page", "run": "a"}, "the loss of a is not finite"),
        ),
        (
            "LedgerGrows",
            {
                'ray_metaclip_ledger_open_items{run="a"}': "0+200x180",
                'ray_metaclip_ledger_open_items{run="b"}': "20000x180",
            },
            "170m",
            ({"severity": "ticket", "run": "a"}, "a begins shards and does not end them"),
        ),
        (
            "CurationDropsMuch",
            {
                'ray_metaclip_curate_rows_dropped_total{pool="p",stage="s"}': "0+9x120",
                'ray_metaclip_curate_rows_dropped_total{pool="p",stage="u"}': "0+1x120",
                'ray_metaclip_curate_rows_in_total{pool="p",stage="s"}': "0+10x120",
                'ray_metaclip_curate_rows_in_total{pool="p",stage="u"}': "0+10x120",
            },
            "100m",
            ({"severity": "ticket", "pool": "p", "stage": "s"}, "stage s drops more than half of pool p"),
        ),
        (
            "NodesDoNotCome",
            {'autoscaler_pending_nodes{NodeType="gpu"}': "2x60"},
            "40m",
            ({"severity": "ticket", "NodeType": "gpu"}, "gpu: nodes have been asked for and do not come"),
        ),
        (
            "ObjectsSpill",
            {'ray_object_store_memory{instance="n",Location="SPILLED"}': "200000000000x60"},
            "40m",
            ({"severity": "ticket", "instance": "n"}, "n holds more than 100 GB of objects on its disk"),
        ),
    ],
)
def test_alert_comes_for_what_it_is_about_and_for_nothing_else(tmp_path, alert, series, after, labels_and_summary):
    labels, summary = labels_and_summary
    expected = {"exp_labels": labels, "exp_annotations": {"summary": summary}}
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [{"eval_time": after, "alertname": alert, "exp_alerts": [expected]}],
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [str(MONITORING / "alerts.yaml")], "tests": [test]}))
    promtool("test", "rules", file)


def mlflow_documents():
    return list(yaml.safe_load_all((CLUSTER / "mlflow" / "kubernetes.yaml").read_text(encoding="utf-8")))


def test_mlflow_server_is_a_valid_manifest():
    pytest.importorskip("kubernetes_validate", reason="manifests are checked with the extra `cluster`")
    assert (
        check_files({"mlflow": (CLUSTER / "mlflow" / "kubernetes.yaml").read_text(encoding="utf-8")}, definitions=None)
        == []
    )


def test_mlflow_server_asks_who_one_is_and_takes_its_secrets_from_a_mount():
    deployment = next(document for document in mlflow_documents() if document["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert "--app-name=basic-auth" in container["args"]
    assert any(argument.startswith("--allowed-hosts=") and "*" not in argument for argument in container["args"])
    assert any(argument.startswith("--artifacts-destination=") for argument in container["args"])
    for variable in container["env"]:
        secret = any(word in variable["name"] for word in ("PASSWORD", "SECRET", "STORE_URI"))
        assert ("valueFrom" in variable) == secret
    service = next(document for document in mlflow_documents() if document["kind"] == "Service")
    assert service["spec"]["type"] == "ClusterIP"
