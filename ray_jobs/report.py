"""`metaclip report`: the data card of the pool, and a page of what was drawn from it and learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from pipelines.report import Reports


def command(recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None) -> None:
    """Write the data card of the recipe's curation, and the page of its run and evaluation where there is one."""
    from pipelines.report import report

    config = load(recipe, overrides, root)
    with bars() as progress:
        reports = report(config, progress=StepBars(progress))
    show(reports)


def show(reports: Reports) -> None:
    """Print where the pages are."""
    typer.echo(f"data card: {reports.card_uri}")
    if reports.run_uri is not None:
        typer.echo(f"report: {reports.run_uri}")


if __name__ == "__main__":
    run_job(command)
