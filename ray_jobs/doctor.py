"""`metaclip doctor`: is what a training relies on sound, before it is paid for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job

if TYPE_CHECKING:
    from pipelines.cluster_doctor import Symptom
    from pipelines.config import RunConfig
    from pipelines.doctor import Finding


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    *,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Try the workers instead: gradients, kernels, memory, speed.")
    ] = False,
    rows: Annotated[int, typer.Option(help="Pairs on each worker, for its speed.", min=1)] = 32,
) -> None:
    """Look at every node of the cluster, the root and MLflow, and say what is wrong, a line each.

    Exits with 1 if anything is.
    """
    config = load(recipe, overrides, root)
    findings = _workers(config, rows) if gpu else _nodes(config)
    for finding in findings:
        typer.echo(f"{'ok   ' if finding.healthy else 'WRONG'} {finding.name}: {finding.told}")
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(1)


def _workers(config: RunConfig, rows: int) -> Sequence[Finding]:
    from pipelines.doctor import examine

    return examine(config, rows=rows)


def _nodes(config: RunConfig) -> Sequence[Symptom]:
    from pipelines.cluster_doctor import examine_cluster

    return examine_cluster(config)


if __name__ == "__main__":
    run_job(command)
