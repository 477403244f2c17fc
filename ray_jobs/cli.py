"""The `metaclip` command line."""

from __future__ import annotations

import typer

from ray_jobs import (
    build_metadata,
    cluster,
    convert_set,
    curate,
    curse,
    demo,
    doctor,
    evaluate,
    export_model,
    export_pool,
    hashes,
    links,
    look,
    metadata,
    plan,
    recipes,
    report,
    run,
    sample,
    submit,
    sweep,
    thresholds,
    train,
)
from ray_jobs.options import guarded

app = typer.Typer(
    help="From raw web image-text pairs to a trained, evaluated, worldwide CLIP model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
metadata_app = typer.Typer(help="The entry lists that captions are matched with.", no_args_is_help=True)
app.add_typer(metadata_app, name="metadata")
app.add_typer(cluster.app, name="cluster")
metadata_app.command("build")(build_metadata.command)
metadata_app.command("import")(metadata.import_command)
metadata_app.command("show")(metadata.show_command)
app.command("classify")(look.classify_command)
app.command("search")(look.search_command)
for name, job in {
    "sample": sample,
    "links": links,
    "hashes": hashes,
    "curate": curate,
    "thresholds": thresholds,
    "export-pool": export_pool,
    "train": train,
    "convert-set": convert_set,
    "sweep": sweep,
    "evaluate": evaluate,
    "curse": curse,
    "export-model": export_model,
    "report": report,
    "run": run,
    "plan": plan,
    "submit": submit,
    "doctor": doctor,
    "demo": demo,
}.items():
    app.command(name)(job.command)


@app.command("recipes")
def list_recipes() -> None:
    """List the shipped recipes."""
    for recipe in recipes.names():
        typer.echo(recipe)


def main() -> None:
    """The console script."""
    guarded(app)
