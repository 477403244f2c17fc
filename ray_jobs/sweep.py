"""`metaclip sweep`: trials over the recipe's search space, each a training run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from pipelines.config import RunConfig
    from pipelines.sweep import SweepResult

_SHOWN = 20
_TERMS_OF_SIZE = {"a": " + a (N/N0)^-alpha", "c": " - c ln(N/N0)"}


def command(
    recipe: Recipe = DEFAULT_RECIPE, overrides: Overrides = None, root: Root = None, *, json: Json = False
) -> None:
    """Try the points of the recipe's search space, and rank them. Started again, it continues where it was."""
    from pipelines.sweep import sweep

    config = load(recipe, overrides, root)
    with bars() as progress:
        result = sweep(config, progress=StepBars(progress))
    show(result, config)
    if json:
        print_json(summary(result))


def show(result: SweepResult, config: RunConfig) -> None:
    """Print the trials, best first, and what failed."""
    sweep = config.sweep
    metrics = [sweep.metric, *sweep.also]
    dials = list(dict.fromkeys(name for outcome in result.outcomes for name in outcome.point))
    table = Table(title=result.name)
    for heading in ["trial", *dials, "pairs seen", *map(_foldable, metrics), ""]:
        table.add_column(heading, justify="right", overflow="fold")
    sign = -1 if sweep.best_is == "max" else 1
    known = [outcome for outcome in result.outcomes if sweep.metric in outcome.metrics]
    for outcome in sorted(known, key=lambda one: (one.ending != "finished", sign * one.metrics[sweep.metric]))[:_SHOWN]:
        values = [f"{outcome.metrics[name]:.4g}" if name in outcome.metrics else "-" for name in metrics]
        point = [str(outcome.point.get(name, "")) for name in dials]
        ending = "" if outcome.ending == "finished" else str(outcome.ending)
        table.add_row(str(outcome.number), *point, f"{outcome.samples_seen:,}", *values, ending)
    if len(known) > _SHOWN:
        table.add_row("…", f"{len(known) - _SHOWN} more")
    Console().print(table)
    for show_analysis in (show_ablation, show_scaling):
        show_analysis(result.analysis)
    for number, problem in sorted(result.problems.items()):
        typer.echo(f"trial {number} failed: {problem}")
    typer.echo(f"best: {result.best.run_name}; {len(result.outcomes)} trials are noted in {result.uri}")


def _foldable(metric: str) -> str:
    """`eval/things/en/top1` → "things/ en/ top1", which a narrow column breaks where a reader would."""
    return metric.removeprefix("eval/").replace("/", "/ ")


def show_ablation(analysis: dict[str, Any]) -> None:
    """Print a row for each arm: the mean over its trials, and its 95 % interval."""
    arms = analysis.get("ablation")
    if not arms:
        return
    metrics = list(next(iter(arms.values())))
    table = Table(title="ablation: mean [95 % interval]")
    for heading in ("arm", "trials", *map(_foldable, metrics)):
        table.add_column(heading, justify="left" if heading == "arm" else "right", overflow="fold")
    for arm, of_arm in arms.items():
        cells = [
            f"{mean['value']:.3f}" + ("" if mean["low"] is None else f" [{mean['low']:.3f}, {mean['high']:.3f}]")
            for mean in of_arm.values()
        ]
        table.add_row(arm, str(of_arm[metrics[0]]["number"]), *cells)
    Console().print(table)


def show_scaling(analysis: dict[str, Any]) -> None:
    """Print the laws, where worldwide stops costing English, and what is recommended."""
    scaling = analysis.get("scaling")
    if not scaling:
        return
    names = {name for law in scaling["laws"] for name in law["parameters"]}
    of_size = "".join(term for name, term in _TERMS_OF_SIZE.items() if name in names)
    table = Table(title=f"error = floor + b (D/D0)^-beta{of_size}, 95 % intervals")
    for heading in ("metric", "group", "dial", "parameter", "value", "interval"):
        table.add_column(heading)
    for law in scaling["laws"]:
        for name, found in law["parameters"].items():
            table.add_row(law["metric"], law["group"], law["dial"], name, f"{found['value']:.3g}", _interval(found))
    Console().print(table)
    for crossing in scaling["worldwide_stops_costing_english"]:
        pairs = crossing["english_pairs"]
        told = pairs if isinstance(pairs, str) else _english_pairs(pairs, crossing["fewest_tried"])
        where = f"{crossing['metric']}, {crossing['model']}, {crossing['dial']}"
        typer.echo(f"worldwide stops costing English ({where}): {told}")
    recommendation = scaling["recommendation"]
    if recommendation:
        for place, one in enumerate(recommendation["best_first"]):
            rank = "then" if place else f"recommended for {recommendation['compute_flop']:.3g} FLOP"
            error = f"error {one['error']['value']:.3f}, {_interval(one['error'])}"
            beyond = f"{one['times_the_largest_training']:.1f} × the largest training"
            typer.echo(f"{rank}: {one['model']}, {one['dial']}, {one['seen_pairs']:,} pairs: {error}; {beyond}")


def _english_pairs(found: dict[str, Any], fewest_tried: float) -> str:
    already = "already with the fewest tried, " if found["value"] <= fewest_tried else ""
    return f"{already}{found['value']:,.0f} English pairs, {_interval(found, ',.0f')}"


def _interval(found: dict[str, Any], form: str = ".3g") -> str:
    interval = found["interval"]
    return interval if isinstance(interval, str) else f"[{interval[0]:{form}}, {interval[1]:{form}}]"


def summary(result: SweepResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "name": result.name,
        "uri": result.uri,
        "mlflow_run_id": result.mlflow_run_id,
        "best": {"run_name": result.best.run_name, "point": result.best.point, "metrics": result.best.metrics},
        "trials": len(result.outcomes),
        "problems": {str(number): problem for number, problem in result.problems.items()},
    }


if __name__ == "__main__":
    run_job(command)
