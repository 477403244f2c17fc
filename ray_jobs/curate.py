"""`metaclip curate`: raw pairs → annotations, counts and thresholds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ray_jobs.funnel import show_funnel
from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from pipelines.curate import CurationResult

_MIN_CAPTIONS_SHOWN = 20


def command(
    recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, *, json: Json = False
) -> None:
    """Identify languages, match entries, count, and set the threshold of every language. Run again, it continues."""
    from pipelines.curate import curate

    config = load(recipe, overrides, root)
    with bars() as progress:
        result = curate(config, progress=StepBars(progress))
    show(result)
    if json:
        print_json(summary(result))


def show(result: CurationResult) -> None:
    """Print the funnel and the table of languages."""
    from pipelines.curate import language_table

    show_funnel(result.funnel)
    rows = language_table(result)
    shown = [row for row in rows if row.captions >= _MIN_CAPTIONS_SHOWN]
    table = Table(title=f"p = {result.thresholds.p:g}")
    for heading in ("language", "captions", "matched", "t", "expected kept"):
        table.add_column(heading, justify="left" if heading == "language" else "right")
    for row in shown:
        t = "-" if row.t is None else f"{row.t:,}"
        table.add_row(row.language, f"{row.captions:,}", f"{row.matched:,}", t, f"{row.expected:,.0f}")
    rest = rows[len(shown) :]
    if rest:
        captions, expected = sum(row.captions for row in rest), sum(row.expected for row in rest)
        matched = sum(row.matched for row in rest)
        table.add_row(f"{len(rest)} more", f"{captions:,}", f"{matched:,}", "", f"{expected:,.0f}")
    Console().print(table)


def summary(result: CurationResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "annotations_uri": result.curated.annotations_uri,
        "counts_uri": result.curated.counts_uri,
        "thresholds": result.thresholds.t,
        "p": result.thresholds.p,
        "funnel": result.funnel.to_records(),
    }


if __name__ == "__main__":
    run_job(command)
