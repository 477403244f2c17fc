"""`metaclip doctor`: is what a training relies on sound, before it is paid for."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    *,
    gpu: Annotated[bool, typer.Option("--gpu", help="Try the workers: gradients, kernels, memory, speed.")] = False,
    rows: Annotated[int, typer.Option(help="Pairs on each worker, for its speed.", min=1)] = 32,
) -> None:
    """Say what is wrong, a line each; exit with 1 if anything is."""
    from pipelines.doctor import examine
    from pipelines.errors import UserError

    config = load(recipe, overrides, root)
    if not gpu:
        raise UserError("say what to look at: --gpu, the workers")
    findings = examine(config, rows=rows)
    for finding in findings:
        typer.echo(f"{'ok   ' if finding.healthy else 'WRONG'} {finding.name}: {finding.told}")
    if not all(finding.healthy for finding in findings):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_job(command)
