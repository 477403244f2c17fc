"""`metaclip export-pool`: the pairs that one epoch draws → WebDataset, parquet, or their ids."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.errors import UserError
from ray_jobs.funnel import show_funnel
from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

Epoch = Annotated[int, typer.Option("--epoch", help="Which of the epochs, from 0; each draws anew.")]
Format = Annotated[str, typer.Option("--format", metavar="webdataset|parquet|ids", help="What is written of a pair.")]
Out = Annotated[
    str | None, typer.Option("--out", metavar="URI", help="The folder to write to; default: a place below the root.")
]
ShardsPerFile = Annotated[
    int, typer.Option("--shards-per-file", help="Shards of the pool whose pairs go into one file.")
]


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    *,
    epoch: Epoch = 0,
    format_name: Format = "webdataset",
    out: Out = None,
    shards_per_file: ShardsPerFile = 1,
    json: Json = False,
) -> None:
    """Write the pairs that an epoch of training would see, for training elsewhere. Run again, it continues."""
    from pipelines.export import ExportSpec, export_pool
    from pipelines.export_files import ExportFormat

    config = load(recipe, overrides, root)
    if format_name not in list(ExportFormat):
        raise UserError(f"there is no format {format_name!r}: take {', '.join(ExportFormat)}")
    spec = ExportSpec(epoch=epoch, format=ExportFormat(format_name), shards_per_file=shards_per_file)
    with bars() as progress:
        result = export_pool(config, spec, out_uri=out, progress=StepBars(progress))
    show_funnel(result.funnel)
    typer.echo(f"{result.num_pairs:,} pairs of epoch {epoch}, {result.num_bytes:,} bytes: {result.uri}")
    if json:
        print_json(
            {
                "export_uri": result.uri,
                "format": spec.format,
                "epoch": epoch,
                "pairs": result.num_pairs,
                "bytes": result.num_bytes,
                "funnel": result.funnel.to_records(),
            }
        )


if __name__ == "__main__":
    run_job(command)
