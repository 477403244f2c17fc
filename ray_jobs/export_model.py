"""`metaclip export-model`: a trained model in open_clip's form."""

from __future__ import annotations

from typing import Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job

Out = Annotated[str, typer.Option("--out", metavar="URI", help="The folder to write.")]
Model = Annotated[
    str | None, typer.Option("--model", metavar="URI", help="A Hugging Face folder; default: the recipe's trained run.")
]


def command(
    out: Out, recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, model: Model = None
) -> None:
    """Write an open_clip checkpoint with its configuration and tokenizer."""
    from pipelines.export_model import export_open_clip

    export_open_clip(load(recipe, overrides, root), model, out_uri=out)
    typer.echo(f'{out}: open_clip.create_model_from_pretrained("local-dir:FOLDER") reads it')


if __name__ == "__main__":
    run_job(command)
