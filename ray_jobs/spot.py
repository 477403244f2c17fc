"""`python -m ray_jobs.spot`: beside every spot node, until its cloud takes it back."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from pipelines.errors import UserError
from ray_jobs.options import run_job

CloudName = Annotated[str | None, typer.Option("--cloud", metavar="aws|gcp", help="Whose notices are read.")]
Address = Annotated[
    str, typer.Option("--address", metavar="HOST:PORT", envvar="RAY_ADDRESS", help="The cluster's head.")
]
Now = Annotated[
    float | None, typer.Option("--now", metavar="S", help="The node ends in so many seconds: drain it at once.")
]
Url = Annotated[str | None, typer.Option("--metadata-url", metavar="URL", help="Another metadata server.")]
Period = Annotated[float, typer.Option("--period", metavar="S", help="From one look to the next.", min=0.01)]


def command(
    *, cloud: CloudName = None, address: Address = "auto", now: Now = None, url: Url = None, period_s: Period = 2.0
) -> None:
    """Wait for the notice of this node's end, then drain the node in Ray with the time that is left."""
    from pipelines.spot import Cloud, Notice, drain, notices, own_node, watch

    if (cloud is None) == (now is None):
        raise UserError("give one of --cloud and --now")
    if cloud is not None and cloud not in set(Cloud):
        raise UserError(f"--cloud takes {' or '.join(Cloud)}, got {cloud!r}")
    logging.basicConfig(level=logging.INFO)
    node_id = own_node(address)
    if cloud is not None:
        notice = watch(notices(Cloud(cloud), url=url), period_s=period_s)
    else:
        notice = Notice("this pod is being ended", now or 0)
    drain(address, node_id, notice)
    typer.echo(f"{notice.told}: node {node_id} is drained")


if __name__ == "__main__":
    run_job(command)
