"""`metaclip sample`: make the sample pool."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines import storage
from pipelines.errors import UserError
from ray_jobs.options import run_job
from ray_jobs.progress import bars

Out = Annotated[str, typer.Option("--out", metavar="URI", help="The folder to write to.")]
Images = Annotated[int, typer.Option("--images", min=1, help="Images in the pool.")]
ShardRows = Annotated[int, typer.Option("--shard-rows", min=1, help="Images of a shard.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same bytes.")]


def command(out: Out, images: Images = 20_000, shard_rows: ShardRows = 500, seed: Seed = 0) -> None:
    """Make the sample pool: handwritten numbers, captioned in the languages of the world, broken like the web."""
    write(out, num_images=images, shard_rows=shard_rows, seed=seed)
    typer.echo(f"sample: {out}")


def write(uri: str, *, num_images: int, shard_rows: int, seed: int) -> None:
    """Write the sample with a progress bar; if it is there, nothing.

    Raises:
        UserError: the extra is not installed, or another sample is at `uri`.
    """
    try:
        from metaclip_core.sample.pool import write_sample  # an optional extra
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install '.[sample]' in the checkout") from error
    filesystem, path = storage.resolve(uri)
    with bars() as progress:
        task = progress.add_task("sample", total=num_images, detail="")
        try:
            write_sample(
                filesystem,
                path,
                num_images=num_images,
                shard_rows=shard_rows,
                seed=seed,
                progress=lambda done: progress.update(task, completed=done),
            )
        except FileExistsError as error:
            raise UserError(str(error)) from error
        except OSError as error:
            raise UserError(f"cannot write to {uri}: {storage.first_line(error)}") from error
        progress.update(task, completed=num_images)


if __name__ == "__main__":
    run_job(command)
