"""`metaclip hashes`: a benchmark's folder of images → the hash file that recipes name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, load, print_json, run_job

if TYPE_CHECKING:
    from pipelines.benchmark_hashes import HashFile

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="A folder of images, at any depth.")]
Out = Annotated[str, typer.Option("--out", metavar="URI", help="The file to write: a .parquet.")]

_FAILED_SHOWN = 10


def command(
    folder: Folder, out: Out, recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, *, json: Json = False
) -> None:
    """Hash the images of a benchmark, so that a curation can leave out the pairs whose image looks like one of them."""
    from pipelines.benchmark_hashes import make_hash_file

    result = make_hash_file(load(recipe, overrides, None), folder_uri=folder, out_uri=out)
    show(result)
    if json:
        print_json(summary(result))


def show(result: HashFile) -> None:
    """Print how many images there are, and which failed."""
    typer.echo(f"{result.num_images:,} images hashed, {len(result.failed):,} failed, {result.num_other:,} other files")
    for image, reason in list(result.failed.items())[:_FAILED_SHOWN]:
        typer.echo(f"  {reason}: {image}")
    if len(result.failed) > _FAILED_SHOWN:
        typer.echo(f"  … and {len(result.failed) - _FAILED_SHOWN:,} more")
    typer.echo(f"hashes: {result.uri}")


def summary(result: HashFile) -> dict[str, object]:
    """What `--json` prints."""
    return {"hashes_uri": result.uri, "images": result.num_images, "failed": result.failed}


if __name__ == "__main__":
    run_job(command)
