"""`metaclip links`: Common Crawl's WAT files → the link table that a downloader takes."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.funnel import show_funnel
from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

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
    show_funnel(result.funnel)
    typer.echo(f"{result.num_links:,} links: {result.uri}")
    if json:
        print_json({"links_uri": result.uri, "links": result.num_links, "funnel": result.funnel.to_records()})


if __name__ == "__main__":
    run_job(command)
