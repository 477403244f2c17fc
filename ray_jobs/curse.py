"""`metaclip curse`: English against the other languages, across all models that were evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job

if TYPE_CHECKING:
    from pipelines.curse import Curse


def command(
    recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, *, json: Json = False
) -> None:
    """Write the report of all that was evaluated under the root: does more world cost English?"""
    from pipelines.curse import curse

    found = curse(load(recipe, overrides, root))
    show(found)
    if json:
        rows = [{"name": row.name, "step": row.step, **vars(row.mean)} for row in found.rows]
        print_json({"rows": rows, "page": found.page_uri})


def show(found: Curse) -> None:
    """Print a row for each model and checkpoint, and where the page is."""
    table = Table(title="mean over sets, %")
    table.add_column("model")
    for heading in ("step", "English", "others"):
        table.add_column(heading, justify="right")
    for row in found.rows:
        shares = [f"{100 * share:.1f}" if share is not None else "-" for share in (row.mean.english, row.mean.others)]
        table.add_row(escape(row.name), "" if row.step is None else f"{row.step:,}", *shares)
    Console().print(table)
    typer.echo(f"page: {found.page_uri}")


if __name__ == "__main__":
    run_job(command)
