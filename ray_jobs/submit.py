"""`metaclip submit`: a job on a running cluster, followed to its end."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.errors import UserError
from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job

Job = Annotated[str, typer.Argument(metavar="JOB", help="curate, train, evaluate, report, run, …")]
Address = Annotated[
    str,
    typer.Option("--address", metavar="URL", envvar="RAY_ADDRESS", help="The cluster's dashboard, by a tunnel."),
]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="The cluster's token.")]
On = Annotated[
    str, typer.Option("--on", metavar="KEY=VALUE", help="Label of the node for the driver; empty: the head.")
]
Wait = Annotated[bool, typer.Option(help="Follow the log, and exit as the job does.")]


def command(
    job: Job,
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    *,
    address: Address = "http://127.0.0.1:8265",
    token_file: TokenFile = None,
    on: On = "role=driver",
    wait: Wait = True,
) -> None:
    """Run JOB on a cluster. Submitted again while it runs, it is followed; after that, it continues."""
    from pipelines.submission import JOBS, Submission, check_root, connect, follow, submit

    name = job.replace("-", "_")
    if name not in JOBS:
        raise UserError(f"no job {job!r}: one of {', '.join(JOBS)}")
    config = load(recipe, overrides, root)
    check_root(config)
    submission = Submission(name, config, read_labels(on))
    client = connect(address, token_file=token_file)
    submitted = submit(client, submission, tell=_tell)
    if wait:
        code = follow(client, submitted, write=_write, tell=_tell)
        raise typer.Exit(code)


def read_labels(text: str) -> dict[str, str]:
    """The labels of `--on`. Raises UserError."""
    if not text:
        return {}
    key, equals, value = text.partition("=")
    if not (key and equals and value):
        raise UserError(f"--on takes KEY=VALUE, got {text!r}")
    return {key: value}


def _write(text: str) -> None:
    typer.echo(text, nl=False)


def _tell(text: str) -> None:
    typer.echo(f"metaclip: {text}", err=True)


if __name__ == "__main__":
    run_job(command)
