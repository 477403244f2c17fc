"""`metaclip evaluate`: what the recipe's model is worth."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

Model = Annotated[
    str | None, typer.Option("--model", metavar="URI", help="A Hugging Face folder; default: the recipe's trained run.")
]


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    model: Model = None,
    *,
    json: Json = False,
) -> None:
    """Zero-shot classification and retrieval in every language of the recipe's evaluation sets."""
    from pipelines.evaluate import evaluate_model, evaluate_run

    config = load(recipe, overrides, root)
    with bars() as progress:
        steps = StepBars(progress)
        if model is None:
            metrics = evaluate_run(config, progress=steps)
        else:
            metrics = evaluate_model(config, model, progress=steps)
    show(metrics)
    if json:
        print_json({"metrics": metrics})


def show(metrics: dict[str, float]) -> None:
    """Print a row for each language, a column for each set's first measure."""
    shares: dict[str, dict[str, float]] = {}
    for name, share in metrics.items():
        _, dataset, language, measure = name.split("/")
        if measure.endswith(("top1", "recall1")):
            shares.setdefault(language, {})[f"{dataset} {measure.replace('_', ' ')}"] = share
    headings = sorted({heading for of_language in shares.values() for heading in of_language})
    table = Table(title="zero-shot, %")
    table.add_column("language")
    for heading in headings:
        table.add_column(heading, justify="right")
    for language, of_language in shares.items():
        cells = [f"{100 * of_language[h]:.1f}" if h in of_language else "-" for h in headings]
        table.add_row(language, *cells)
    Console().print(table)


if __name__ == "__main__":
    run_job(command)
