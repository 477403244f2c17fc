"""`metaclip classify` and `metaclip search`: a look at what a model knows, in any language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Model, Overrides, Recipe, Root, load, print_json
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from pipelines.look import Search

Image = Annotated[str, typer.Argument(metavar="IMAGE", help="A file or URI of an image.")]
Labels = Annotated[list[str], typer.Argument(metavar="LABEL…", help="Texts to choose from, in any languages.")]
Text = Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in any language.")]
Pool = Annotated[
    str | None, typer.Option("--in", metavar="POOL", help="The pool's URI; default: the recipe's. It is curated.")
]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Images to show.")]

_CAPTIONS_SHOWN = 2


def classify_command(
    image: Image,
    labels: Labels,
    *,
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Say which label fits an image."""
    from pipelines.look import classify

    shares = classify(load(recipe, overrides, root), model, image, labels)
    table = Table("label", "share, %")
    for label, share in shares.items():
        table.add_row(escape(label), f"{100 * share:.1f}")
    Console().print(table)
    if json:
        print_json({"shares": shares})


def search_command(
    text: Text,
    *,
    pool: Pool = None,
    limit: Limit = 10,
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    model: Model = None,
    json: Json = False,
) -> None:
    """Show the images of a curated pool that fit a text."""
    from pipelines.look import search

    of_pool = [] if pool is None else [f"pool.uri={pool}"]
    config = load(recipe, [*(overrides or []), *of_pool], root)
    with bars() as progress:
        found = search(config, model, text, limit=limit, progress=StepBars(progress))
    show(found)
    if json:
        print_json({"images": [vars(image) for image in found.images], "page": found.page_uri})


def show(found: Search) -> None:
    """Print the images' captions and where the page is."""
    table = Table(title=f"{escape(found.text)}: of {found.num_images:,} images")
    table.add_column("similarity", justify="right")
    table.add_column("captions")
    table.add_column("pair")
    for image in found.images:
        captions = " · ".join(image.captions[:_CAPTIONS_SHOWN])
        table.add_row(f"{image.similarity:.3f}", escape(captions), escape(image.url or image.pair_id))
    Console().print(table)
    typer.echo(f"page: {found.page_uri}")
