"""What is wrong with a cluster's definitions, a sentence each: schemas first, then what this project relies on.

The launcher's files go through Ray's own schema, manifests through Kubernetes' published ones, and KubeRay's kinds
through its custom resource definitions where these are at hand; the pods in them are checked without those too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import jsonschema
import yaml
from ray.autoscaler._private.util import validate_config

from pipelines.errors import UserError
from pipelines.labels import DATA_NODES, DRIVER_NODES

_KUBERAY = "ray.io/v1"
_SPEC_KEYS = {"RayCluster": (), "RayJob": ("rayClusterSpec",)}

Document = dict[str, Any]


def check_files(files: Mapping[str, str], *, definitions: Path | None) -> list[str]:
    """What is wrong with rendered files, or with those that were changed by hand.

    Args:
        files: YAML by file name.
        definitions: a folder or file of KubeRay's custom resource definitions.

    Raises:
        UserError: the validator of manifests is not installed, or the definitions hold none of KubeRay's kinds.
    """
    schemas = read_schemas(definitions) if definitions is not None else {}
    return [f"{name}: {problem}" for name, text in files.items() for problem in _check_file(text, schemas)]


def _check_file(text: str, schemas: Mapping[str, Document]) -> Iterator[str]:
    try:
        documents = list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        yield f"no YAML: {' '.join(str(error).split())}"
        return
    for document in documents:
        if not isinstance(document, dict):
            yield "a document is no mapping"
        elif "cluster_name" in document:
            yield from _check_launcher(document)
        else:
            yield from _check_manifest(document, schemas)


def _check_launcher(config: Document) -> Iterator[str]:
    try:
        validate_config(config)
    except (jsonschema.ValidationError, ValueError, RuntimeError) as error:
        yield _told(error)
        return
    if not config["provider"].get("use_internal_ips"):
        yield "provider.use_internal_ips is off: nodes would be reached by public addresses"
    if "--env RAY_AUTH_MODE=token" not in config.get("docker", {}).get("run_options", []):
        yield "docker.run_options do not set RAY_AUTH_MODE=token: whoever reaches a port could run code"
    starts = " ".join(config.get("head_start_ray_commands", []))
    if "--dashboard-host=127.0.0.1" not in starts:
        yield "head_start_ray_commands do not keep the dashboard on loopback"
    nodes = config.get("available_node_types", {})
    head = nodes.get(config.get("head_node_type"), {})
    if head.get("resources", {}).get("CPU") != 0:
        yield "the head has CPUs for tasks: data stages would crowd out the driver"
    yield from _check_labels(
        head.get("labels", {}),
        {
            name: (node.get("labels", {}), node["resources"])
            for name, node in nodes.items()
            if name != config["head_node_type"]
        },
    )


def _check_labels(
    head: Mapping[str, str], workers: Mapping[str, tuple[Mapping[str, str], Mapping[str, int]]]
) -> Iterator[str]:
    if not DRIVER_NODES.items() <= head.items():
        yield f"the head is not labelled {_label(DRIVER_NODES)}: submitted jobs would wait for such a node"
    if not any(DATA_NODES.items() <= labels.items() for labels, _ in workers.values()):
        yield f"no kind of node is labelled {_label(DATA_NODES)}: data stages would run beside the GPUs"
    for name, (labels, resources) in workers.items():
        if DATA_NODES.items() <= labels.items() and resources.get("GPU"):
            yield f"{name} has GPUs and is labelled {_label(DATA_NODES)}"


def _label(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in labels.items())


def _check_manifest(document: Document, schemas: Mapping[str, Document]) -> Iterator[str]:
    kind = document.get("kind")
    if document.get("apiVersion") != _KUBERAY or kind not in _SPEC_KEYS:
        yield from _check_known(document)
        return
    if kind in schemas:
        for error in jsonschema.Draft202012Validator(schemas[kind]).iter_errors(document):
            yield f"{kind}: {_told(error)}"
    spec = document.get("spec", {})
    for key in _SPEC_KEYS[kind]:
        spec = spec.get(key, {})
    groups = [spec.get("headGroupSpec", {}), *spec.get("workerGroupSpecs", [])]
    for group in groups:
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {}, "template": group.get("template", {})}
        yield from _check_known(template, of=f"{kind} {group.get('groupName', 'head')}: ")
    if spec.get("authOptions", {}).get("mode") != "token":
        yield f"{kind}: authOptions.mode is not token: whoever reaches a port could run code"
    if groups[0].get("rayStartParams", {}).get("num-cpus") != "0":
        yield f"{kind}: the head has CPUs for tasks: data stages would crowd out the driver"
    yield from _check_labels(
        groups[0].get("labels", {}),
        {group.get("groupName", ""): (group.get("labels", {}), _gpus(group)) for group in groups[1:]},
    )


def _gpus(group: Document) -> dict[str, int]:
    containers = group.get("template", {}).get("spec", {}).get("containers", [])
    return {"GPU": sum(c.get("resources", {}).get("limits", {}).get("nvidia.com/gpu", 0) for c in containers)}


def _check_known(document: Document, *, of: str = "") -> Iterator[str]:
    """A document of a kind that Kubernetes itself has."""
    try:
        validator: Any = import_module("kubernetes_validate")
    except ModuleNotFoundError as error:
        raise UserError("kubernetes-validate is not installed: pip install '.[cluster]' in the checkout") from error
    try:
        validator.validate(document, validator.latest_version(), strict=True)
    except validator.ValidationError as error:
        yield f"{of}{document.get('kind')}: {_told(error)}"
    except validator.InvalidSchemaError:
        yield f"{of}unknown kind {document.get('kind')!r} of {document.get('apiVersion')!r}"


def _told(error: Any) -> str:  # noqa: ANN401 - jsonschema's errors, which its users derive theirs from, or others
    if not hasattr(error, "absolute_path"):
        return str(error).splitlines()[0]
    path = ".".join(str(part) for part in error.absolute_path)
    return f"{path}: {error.message}" if path else str(error.message)


def read_schemas(definitions: Path) -> dict[str, Document]:
    """The schemas of KubeRay's kinds, closed to unknown fields as its API server prunes them.

    Raises:
        UserError: there are none.
    """
    files = sorted(definitions.glob("*.yaml")) if definitions.is_dir() else [definitions]
    schemas = {}
    try:
        documents = [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"no custom resource definitions at {definitions}: {_told(error)}") from error
    for document in documents:
        if not isinstance(document, dict) or document.get("kind") != "CustomResourceDefinition":
            continue
        spec = document["spec"]
        for version in spec["versions"]:
            if f"{spec['group']}/{version['name']}" == _KUBERAY:
                schemas[spec["names"]["kind"]] = _closed(version["schema"]["openAPIV3Schema"])
    if not schemas.keys() & _SPEC_KEYS.keys():
        raise UserError(f"{definitions} holds no custom resource definition of KubeRay's version v1")
    return schemas


def _closed(schema: Any) -> Any:  # noqa: ANN401 - any JSON schema
    """`schema` without room for fields that it does not name."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    open_to_all = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_to_all:
        closed["additionalProperties"] = False
    return closed
