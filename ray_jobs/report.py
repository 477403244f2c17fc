"""`metaclip report`: one page that shows what was curated, drawn and learnt."""

from __future__ import annotations

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job


def command(recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None) -> None:
    """Write the report page of the recipe's curation, and of its run and evaluation where they are there."""
    from pipelines.report import report_run

    typer.echo(f"report: {report_run(load(recipe, overrides, root))}")


if __name__ == "__main__":
    run_job(command)
