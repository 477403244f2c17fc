"""`metaclip convert-set`: a published benchmark as an evaluation set."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.options import run_job

KIND = (
    "folders, babel-imagenet, dollar-street, geode, gldv2, xm3600, flickr30k-200, xtd-10, xtd-200 or cvqa: "
    "the layout it was published in."
)
Kind = Annotated[str, typer.Argument(metavar="KIND", help=KIND)]
Source = Annotated[str, typer.Argument(metavar="SOURCE", help="The folder with what was published.")]
Out = Annotated[str, typer.Option("--to", metavar="FOLDER", help="The set to write; its name is the folder's.")]
Names = Annotated[
    str | None, typer.Option("--names", metavar="FILE", help="JSON: class names, a list or lists by language.")
]
Templates = Annotated[
    str | None,
    typer.Option("--templates", metavar="FILE", help="JSON: templates with {}, a list or lists by language."),
]
Key = Annotated[
    str | None, typer.Option("--key", help="Which data set of --names and --templates, if they hold several.")
]
Label = Annotated[str, typer.Option("--label", help="object; or country, for few-shot geo-localisation.")]


def command(
    kind: Kind,
    source: Source,
    out: Out,
    *,
    names: Names = None,
    templates: Templates = None,
    key: Key = None,
    label: Label = "object",
) -> None:
    """Convert a published benchmark that you have into an evaluation set. Nothing is downloaded."""
    from pipelines.convert import convert_set
    from pipelines.converters.published import Options

    options = Options(names=names, templates=templates, key=key, label=label)
    num_images = convert_set(kind, source, out_uri=out, options=options)
    typer.echo(f"{num_images:,} images: {out}")


if __name__ == "__main__":
    run_job(command)
