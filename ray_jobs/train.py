"""`metaclip train`: a curation → a trained model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import TrainingBar, bars

if TYPE_CHECKING:
    from pipelines.runs import TrainResult


def command(
    recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, *, json: Json = False
) -> None:
    """Train on the drawn pairs. Started again, it continues where it was; finished, it says what it made."""
    from pipelines.training import train

    config = load(recipe, overrides, root)
    with bars() as progress:
        result = train(config, report=TrainingBar(progress, config.training))
    show(result)
    if json:
        print_json(summary(result))


def show(result: TrainResult) -> None:
    """Print what became of the drawn rows, and where the model is."""
    failed = ", ".join(f"{rows:,} {reason}" for reason, rows in sorted(result.failed.items())) or "none"
    typer.echo(f"run {result.run_name}: {result.samples_seen:,} pairs seen")
    typer.echo(f"drawn and not trained on: {failed}; left over: {result.left_over:,}")
    typer.echo(f"model: {result.model_uri}")


def summary(result: TrainResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "run_name": result.run_name,
        "checkpoint_uri": result.checkpoint_uri,
        "model_uri": result.model_uri,
        "mlflow_run_id": result.mlflow_run_id,
        "samples_seen": result.samples_seen,
    }


if __name__ == "__main__":
    run_job(command)
