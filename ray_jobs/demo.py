"""`metaclip demo`: the whole road on one machine, on the sample pool."""

from __future__ import annotations

import typer

from ray_jobs import curate as curate_job
from ray_jobs import evaluate as evaluate_job
from ray_jobs import report as report_job
from ray_jobs import sample as sample_job
from ray_jobs import train as train_job
from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job
from ray_jobs.progress import StepBars, TrainingBar, bars


def command(recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None) -> None:
    """Sample → metadata → curate → train → evaluate → report. Run again, it continues."""
    from pipelines import storage
    from pipelines.cluster import connected
    from pipelines.curate import curate
    from pipelines.evaluate import evaluate_run
    from pipelines.metadata import import_metadata
    from pipelines.report import report
    from pipelines.tracking import ui_command
    from pipelines.training import train

    config = load(recipe, overrides, root)
    sample_uri = storage.absolute(config.pool.uri, base=config.root)
    sample_job.write(sample_uri, **config.sample.model_dump())
    import_metadata(storage.join(sample_uri, "metadata"), config)
    with connected(config.compute):
        with bars() as progress:
            curation = curate(config, progress=StepBars(progress))
        curate_job.show(curation)
        with bars() as progress:
            result = train(config, report=TrainingBar(progress, config.training))
        train_job.show(result)
        with bars() as progress:
            metrics = evaluate_run(config, progress=StepBars(progress))
        evaluate_job.show(metrics)
        with bars() as progress:
            reports = report(config, progress=StepBars(progress))
    report_job.show(reports)
    typer.echo(f"experiments: {ui_command(config.tracking)}")


if __name__ == "__main__":
    run_job(command)
