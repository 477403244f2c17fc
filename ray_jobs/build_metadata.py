"""`metaclip metadata`: bring entry lists into the root."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job

Source = Annotated[str, typer.Argument(metavar="DIR", help="A folder of <language>.txt or .json entry lists.")]


def import_command(
    source: Source, recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None
) -> None:
    """Import entry lists under the recipe's metadata name, with the numbers 0 to 99 added to each language."""
    from pipelines.metadata import import_metadata

    config = load(recipe, overrides, root)
    version = import_metadata(source, config)
    typer.echo(f"metadata {config.metadata.name}: version {version}")


if __name__ == "__main__":
    run_job(import_command)
