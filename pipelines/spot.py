"""The end of a spot node, as its cloud announces it: from the notice to Ray's drain, so that a training saves itself.

Ray knows draining but listens to no cloud. AWS gives two minutes by a document that appears, GCP thirty seconds by a
flag.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus

import ray
import requests

from pipelines.errors import UserError

_GCP_NOTICE_S = 30.0
_MARGIN_S = 5  # before the machine is gone
_TOKEN_TTL_S = 21_600
_TIMEOUT_S = 2.0
_DRAIN_TIMEOUT_S = 60

_log = logging.getLogger(__name__)


class Cloud(StrEnum):
    """Whose notices are read."""

    AWS = "aws"
    GCP = "gcp"


METADATA_URL = {Cloud.AWS: "http://169.254.169.254", Cloud.GCP: "http://metadata.google.internal"}


@dataclass(frozen=True)
class Notice:
    """This machine will be taken away."""

    told: str
    remaining_s: float


class AwsNotices:
    """The instance metadata service, version 2: a session's token first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = _session()
        self._token = ""

    def look(self) -> Notice | None:
        """The notice, where there is one. Raises requests.RequestException."""
        if not self._token:
            answer = self._session.put(
                f"{self._url}/latest/api/token",
                headers={"X-aws-ec2-metadata-token-ttl-seconds": str(_TOKEN_TTL_S)},
                timeout=_TIMEOUT_S,
            )
            answer.raise_for_status()
            self._token = answer.text
        answer = self._session.get(
            f"{self._url}/latest/meta-data/spot/instance-action",
            headers={"X-aws-ec2-metadata-token": self._token},
            timeout=_TIMEOUT_S,
        )
        if answer.status_code == HTTPStatus.UNAUTHORIZED:  # the token has ended: the next look brings another
            self._token = ""
            return None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        answer.raise_for_status()
        notice = answer.json()
        at = datetime.fromisoformat(notice["time"])
        return Notice(
            f"EC2 will {notice['action']} this node at {at:%H:%M:%S}", (at - datetime.now(UTC)).total_seconds()
        )


class GcpNotices:
    """Compute Engine's metadata server."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = _session()

    def look(self) -> Notice | None:
        """The notice, where there is one. Raises requests.RequestException."""
        answer = self._session.get(
            f"{self._url}/computeMetadata/v1/instance/preempted",
            headers={"Metadata-Flavor": "Google"},
            timeout=_TIMEOUT_S,
        )
        answer.raise_for_status()
        if answer.text.strip() != "TRUE":
            return None
        return Notice("Compute Engine preempts this node", _GCP_NOTICE_S)


def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # a proxy would answer for another machine
    return session


def notices(cloud: Cloud, *, url: str | None = None) -> AwsNotices | GcpNotices:
    """The notices of a cloud, or of who stands in for it at `url`."""
    base = url or METADATA_URL[cloud]
    return AwsNotices(base) if cloud == Cloud.AWS else GcpNotices(base)


def watch(source: AwsNotices | GcpNotices, *, period_s: float) -> Notice:
    """Wait for the notice; a metadata server that does not answer is asked again, and said once."""
    answered = True
    while True:
        try:
            notice = source.look()
        except (requests.RequestException, ValueError, KeyError) as error:
            if answered:
                _log.warning("no word about this node's end: %s", error)
            answered = False
        else:
            answered = True
            if notice is not None:
                return notice
        time.sleep(period_s)


def own_node(address: str) -> str:
    """The id of this machine's Ray node.

    Raises:
        UserError: no node of that cluster runs here.
    """
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, TimeoutError, RuntimeError) as error:
        raise UserError(f"no node of the Ray cluster at {address} runs on this machine") from error
    try:
        return str(ray.get_runtime_context().get_node_id())
    finally:
        ray.shutdown()


def drain(address: str, node_id: str, notice: Notice) -> None:
    """Tell Ray that the node ends, and when.

    Raises:
        UserError: Ray does not take it.
    """
    command = drain_command(address, node_id, notice)
    done = subprocess.run(command, check=False, timeout=_DRAIN_TIMEOUT_S)  # noqa: S603 - a command of ours
    if done.returncode != 0:
        raise UserError(f"Ray did not take the drain of node {node_id}: exit code {done.returncode}")


def drain_command(address: str, node_id: str, notice: Notice) -> list[str]:
    """`ray drain-node` with the time that is left, less a margin."""
    return [
        sys.executable,
        "-m",
        "ray.scripts.scripts",
        "drain-node",
        f"--address={address}",
        f"--node-id={node_id}",
        "--reason=DRAIN_NODE_REASON_PREEMPTION",
        f"--reason-message={notice.told}",
        f"--deadline-remaining-seconds={max(1, int(notice.remaining_s) - _MARGIN_S)}",
    ]
