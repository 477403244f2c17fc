"""`metaclip demo`: the whole road on one machine, on the sample pool."""

from __future__ import annotations

import typer

from ray_jobs import sample as sample_job
from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job
from ray_jobs.run import run_steps


def command(recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None) -> None:
    """Sample → metadata → curate → train → evaluate → report. Run again, it continues."""
    from pipelines import storage
    from pipelines.cluster import connected
    from pipelines.metadata import import_metadata
    from pipelines.tracking import ui_command

    config = load(recipe, overrides, root)
    sample_uri = storage.absolute(config.pool.uri, base=config.root)
    sample_job.write(sample_uri, **config.sample.model_dump())
    import_metadata(storage.join(sample_uri, "metadata"), config)
    with connected(config.compute):
        run_steps(config)
    typer.echo(f"experiments: {ui_command(config.tracking)}")


if __name__ == "__main__":
    run_job(command)
