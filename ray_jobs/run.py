"""`metaclip run`: the whole pipeline as one job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ray_jobs import curate as curate_job
from ray_jobs import evaluate as evaluate_job
from ray_jobs import report as report_job
from ray_jobs import train as train_job
from ray_jobs.options import DEFAULT_RECIPE, Overrides, Recipe, Root, load, run_job
from ray_jobs.progress import StepBars, TrainingBar, bars

if TYPE_CHECKING:
    from pipelines.config import RunConfig


def command(recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None) -> None:
    """Metadata → curate → train → evaluate → report → register. Run again, it continues.

    Metadata are built where the recipe names sources of them, else they must be there.
    """
    from pipelines.cluster import connected
    from pipelines.metadata import metadata_version

    config = load(recipe, overrides, root)
    with connected(config.compute):
        if names_sources(config):
            with bars() as progress:
                from pipelines.metadata_build import build_metadata

                build_metadata(config, progress=StepBars(progress))
        version = metadata_version(config)
        typer.echo(f"metadata {config.metadata.name}: version {version}")
        run_steps(config)


def names_sources(config: RunConfig) -> bool:
    """Whether the recipe says what its metadata are built of, and leaves their version open."""
    build = config.metadata.build
    return config.metadata.version is None and any(
        source.uri is not None for source in (build.wordnet, build.wikipedia, build.titles)
    )


def run_steps(config: RunConfig) -> None:
    """All that follows metadata, in one connection to a cluster; evaluation and registry where the recipe asks."""
    from pipelines.curate import curate
    from pipelines.evaluate import evaluate_run
    from pipelines.registration import register
    from pipelines.report import report
    from pipelines.training import train

    with bars() as progress:
        curation = curate(config, progress=StepBars(progress))
    curate_job.show(curation)
    with bars() as progress:
        result = train(config, report=TrainingBar(progress, config.training))
    train_job.show(result)
    scores: dict[str, float] = {}
    if config.evaluation.sets:
        with bars() as progress:
            scores = evaluate_run(config, progress=StepBars(progress))
        evaluate_job.show(scores)
    with bars() as progress:
        reports = report(config, progress=StepBars(progress))
    report_job.show(reports)
    if config.tracking.model is not None:
        version = register(config, config.tracking.model, scores, data_card=reports.card_uri)
        typer.echo(f"registered model {config.tracking.model}: version {version}")


if __name__ == "__main__":
    run_job(command)
