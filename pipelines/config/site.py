"""One site's parameters: where a cluster's nodes come from, how many, and under whose name they reach the bucket.

No secret is a parameter: the cluster's token lies in a file of its own, and nodes reach the bucket by an identity.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from pipelines.config.base import Count, Section, Uri

_DNS_LABEL = r"^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$"
_IMAGE = r"^[a-z0-9][a-z0-9._:/-]*(:[A-Za-z0-9._-]+|@sha256:[0-9a-f]{64})$"  # with a tag or a digest
_SECRET = re.compile("SECRET|TOKEN|PASSWORD|ACCESS_KEY")
_PLAIN = r"^[A-Za-z0-9][A-Za-z0-9._:/@+=,-]*$"  # nothing that a shell or a YAML reader would take for more

Label = Annotated[str, Field(pattern=_DNS_LABEL)]
Image = Annotated[str, Field(pattern=_IMAGE)]
Plain = Annotated[str, Field(pattern=_PLAIN)]
Command = Annotated[str, Field(pattern=r"^[\x20-\x7e]+$")]
Number = Annotated[int, Field(ge=0)]


def _no_secret(name: str) -> str:
    if _SECRET.search(name):
        raise ValueError(f"{name} is a secret, and a definition holds none: nodes have an identity or a secret mounted")
    return name


Variable = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$"), AfterValidator(_no_secret)]


class Pool(Section):
    """How many nodes of one kind, and what Ray counts of each."""

    cpus: Count
    gpus: Number = 0
    min_nodes: Number = 0
    max_nodes: Count
    idle_timeout_s: Count = 300

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_nodes > self.max_nodes:
            raise ValueError(f"min_nodes {self.min_nodes} is more than max_nodes {self.max_nodes}")
        return self


class MachinePool(Pool):
    """Nodes of one kind in a cloud."""

    machine: Plain
    local_disks: Number = 1  # NVMe ones, for what spills; without any, spilling goes to the boot disk


class PodPool(Pool):
    """Pods of one kind, each a Ray node; best one a machine."""

    memory_gb: Count
    shared_memory_gb: Count  # of `memory_gb`: Ray's object store
    spill_gb: Count
    node_selector: dict[Plain, Plain] = Field(default_factory=dict)
    tolerations: list[dict[Plain, Plain]] = Field(default_factory=list)


class MachinePools(Section):
    """The kinds of worker nodes."""

    cpu_spot: MachinePool
    gpu_spot: MachinePool
    gpu_on_demand: MachinePool


class PodPools(Section):
    """The kinds of worker pods."""

    cpu_spot: PodPool
    gpu_spot: PodPool
    gpu_on_demand: PodPool


class Head(Section):
    """The head of a cluster in a cloud: on demand, with the driver and no tasks."""

    machine: Plain
    disk_gb: Count = 200


class PodHead(Section):
    """The head on Kubernetes."""

    cpus: Count
    memory_gb: Count
    shared_memory_gb: Count
    node_selector: dict[Plain, Plain] = Field(default_factory=dict)
    tolerations: list[dict[Plain, Plain]] = Field(default_factory=list)


class _Site(Section):
    """What all sites have."""

    name: Label
    image: Image  # built from cluster/Dockerfile, target `cpu`
    gpu_image: Image  # target `cuda`
    environment: dict[Variable, Uri] = Field(default_factory=dict)
    upscaling_speed: Annotated[float, Field(gt=0)] = 4.0


class AwsSite(_Site):
    """Nodes by Ray's cluster launcher on EC2."""

    provider: Literal["aws"]
    region: Plain
    subnets: Annotated[list[Annotated[str, Field(pattern=r"^subnet-[0-9a-f]+$")]], Field(min_length=1)]
    security_groups: Annotated[list[Annotated[str, Field(pattern=r"^sg-[0-9a-f]+$")]], Field(min_length=1)]
    instance_profile: Annotated[str, Field(pattern=r"^arn:aws[a-z-]*:iam::\d{12}:instance-profile/[\w+=,.@/-]+$")]
    ami: Annotated[str, Field(pattern=r"^ami-[0-9a-f]+$")]  # with Docker and NVIDIA's runtime
    ssh_user: Plain = "ubuntu"
    ssh_proxy_command: Command | None = None  # to hosts without a public address, as a session manager's
    head: Head
    pools: MachinePools


class GcpSite(_Site):
    """Nodes by Ray's cluster launcher on Compute Engine."""

    provider: Literal["gcp"]
    project: Plain
    region: Plain
    zone: Plain
    subnetwork: Plain  # projects/…/regions/…/subnetworks/…
    service_account: Annotated[str, Field(pattern=r"^[a-z0-9-]+@[a-z0-9-]+\.iam\.gserviceaccount\.com$")]
    source_image: Plain  # with Docker and NVIDIA's runtime
    ssh_user: Plain = "ubuntu"
    ssh_proxy_command: Command | None = None
    head: Head
    pools: MachinePools


class KubernetesSite(_Site):
    """Pods by KubeRay."""

    provider: Literal["kubernetes"]
    namespace: Label
    operator_namespace: Label = "kuberay-operator"
    monitoring_namespace: Label = "monitoring"
    service_account_annotations: dict[Plain, Plain] = Field(default_factory=dict)  # which role it has in the cloud
    recipe_config_map: Label = "recipe"  # with the key recipe.yaml, for the RayJob
    head: PodHead
    pools: PodPools


Site = Annotated[AwsSite | GcpSite | KubernetesSite, Field(discriminator="provider")]
