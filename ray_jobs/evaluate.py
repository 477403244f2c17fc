"""`metaclip evaluate`: what the recipe's model is worth."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Model, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    model: Model = None,
    *,
    json: Json = False,
) -> None:
    """What a model is worth in every language of the recipe's evaluation sets."""
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
    """Print a row for each language, a column for each set's first measure, and the images that did not decode."""
    from pipelines.evaluation_sets import MEAN, metric_name
    from pipelines.measures import HIGH, LOW, UNDECODABLE
    from pipelines.tasks import is_headline

    cells: dict[str, dict[str, str]] = {}
    for name, share in metrics.items():
        _, dataset, language, measure = name.split("/")
        if is_headline(measure):
            ends = [metrics.get(metric_name(dataset, language, measure + end)) for end in (LOW, HIGH)]
            interval = (
                "" if None in ends else " ({})".format("–".join(f"{100 * end:.1f}" for end in ends if end is not None))
            )
            heading = f"{dataset} {measure.replace('_', ' ')}"
            cells.setdefault(language, {})[heading] = f"{100 * share:.1f}" + (interval if language == MEAN else "")
        elif measure == UNDECODABLE and share:
            typer.echo(f"{dataset}: {share:.0f} images did not decode and count as wrong")
    headings = sorted({heading for of_language in cells.values() for heading in of_language})
    table = Table(title="zero-shot, %")
    table.add_column("language")
    for heading in headings:
        table.add_column(heading, justify="right")
    for language, of_language in sorted(cells.items(), key=lambda item: item[0] == MEAN):
        table.add_row(language, *(of_language.get(heading, "-") for heading in headings))
    Console().print(table)


if __name__ == "__main__":
    run_job(command)
