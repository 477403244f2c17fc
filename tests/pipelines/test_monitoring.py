"""What is watched is what is there: dashboard and alerts name metrics that the program has."""

import ast
import inspect
import json
import re
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
