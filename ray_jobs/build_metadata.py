"""`metaclip metadata build`: WordNets, Wikipedias and page views into entry lists."""

from __future__ import annotations

import typer

from pipelines.errors import UserError
from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars


def command(
    recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, *, json: Json = False
) -> None:
    """Build entry lists from WordNets, Wikipedia dumps and page views; run again, it continues."""
    try:
        from pipelines.metadata_build import build_metadata
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install '.[metadata]' in the checkout") from error
    config = load(recipe, overrides, root)
    with bars() as progress:
        built = build_metadata(config, progress=StepBars(progress))
    entries = built.manifest.num_entries
    typer.echo(
        f"metadata {config.metadata.name}: version {built.version}, {sum(entries.values()):,} entries "
        f"in {len(entries)} languages\nreport: {built.report_uri}"
    )
    if json:
        print_json({"version": built.version, "num_entries": entries, "report": built.report_uri})


if __name__ == "__main__":
    run_job(command)
