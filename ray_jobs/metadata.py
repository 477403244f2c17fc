"""`metaclip metadata import` and `show`: entry lists into the root, and a look at what is there."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job

Source = Annotated[str, typer.Argument(metavar="DIR", help="A folder of <language>.txt or .json entry lists.")]
Language = Annotated[str, typer.Argument(help="A metadata language, as en or zh.")]
Text = Annotated[str, typer.Argument(metavar="[TEXT]", help="Only entries that hold this text.")]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Entries to print.")]


def import_command(
    source: Source, recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None
) -> None:
    """Import entry lists under the recipe's metadata name, with the numbers 0 to 99 added to each language."""
    from pipelines.metadata import import_metadata

    config = load(recipe, overrides, root)
    version = import_metadata(source, config)
    typer.echo(f"metadata {config.metadata.name}: version {version}")


def show_command(
    language: Language,
    text: Text = "",
    *,
    limit: Limit = 20,
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
) -> None:
    """Print entries of a language: id, source, score."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text as Plain

    from pipelines.metadata import show_metadata

    found = show_metadata(language, text, load(recipe, overrides, root), limit=limit)
    table = Table("id", "source", "score", "entry", title=f"{language}: {found.num_matches:,} entries")
    for row in found.table.to_pylist():
        table.add_row(str(row["id"]), row["source"], f"{row['score']:,.2f}", Plain(row["entry"]))
    Console().print(table)


if __name__ == "__main__":
    run_job(import_command)
