"""`metaclip links`: Common Crawl's WAT files → the link table that a downloader takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from metaclip_core.funnel import Funnel

Wat = Annotated[str, typer.Option("--wat", metavar="URI", help="A folder of *.warc.wat.gz files, or one.")]
Out = Annotated[str, typer.Option("--out", metavar="URI", help="The folder to write under.")]


def command(
    wat: Wat, out: Out, recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, *, json: Json = False
) -> None:
    """List the images of a crawl with all that its pages call them. Run again, it continues."""
    from pipelines.links import make_links

    config = load(recipe, overrides, None)
    with bars() as progress:
        result = make_links(config, wat_uri=wat, out_uri=out, progress=StepBars(progress))
    show(result.funnel)
    typer.echo(f"{result.num_links:,} links: {result.uri}")
    if json:
        print_json({"links_uri": result.uri, "links": result.num_links, "funnel": result.funnel.to_records()})


def show(funnel: Funnel) -> None:
    """Print the funnel: what came, what went on, and what each reason took."""
    table = Table(title="funnel")
    for heading in ("stage", "in", "out", "dropped"):
        table.add_column(heading, justify="left" if heading in {"stage", "dropped"} else "right")
    for record in funnel.to_records():
        dropped = ", ".join(f"{rows:,} {reason}" for reason, rows in record["dropped"].items())
        table.add_row(record["stage"], f"{record['rows_in']:,}", f"{record['rows_out']:,}", dropped)
    Console().print(table)


if __name__ == "__main__":
    run_job(command)
