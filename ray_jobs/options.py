"""What every command takes, and how every command ends: parse → configuration → call → exit."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from pipelines.config import RunConfig, build_config
from pipelines.errors import UserError
from ray_jobs import recipes

Recipe = Annotated[
    str, typer.Option("--recipe", metavar="NAME|FILE", help="A shipped recipe or a YAML file; see `metaclip recipes`.")
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override one key of the recipe; may be repeated.")
]
Root = Annotated[
    str | None, typer.Option("--root", metavar="URI", help="Where everything is kept: a folder, s3://… or gs://…")
]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="URI",
        help="A folder or open_clip:ARCHITECTURE@WEIGHTS; default: the recipe's trained run.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON.")]

DEFAULT_RECIPE = "demo"
_OF_STORE = "AWS Error"  # in what pyarrow raises, also out of a Ray task
_USER_ERROR = 2


def load(recipe: str, overrides: list[str] | None, root: str | None) -> RunConfig:
    """The configuration that the options ask for. Raises UserError."""
    content = recipes.read(recipe)
    if root is not None:
        content["root"] = root
    return build_config(content, overrides=overrides or [])


def print_json(content: dict[str, Any]) -> None:
    """The machine-readable last line."""
    typer.echo(json.dumps(content, ensure_ascii=False))


def guarded(run: Callable[[], None]) -> None:
    """Run a command; an error that the user can mend ends in one sentence and exit code 2, a store's with 1."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers draws them even for a save
    try:
        run()
    except UserError as error:
        typer.echo(f"metaclip: {error}", err=True)
        sys.exit(_USER_ERROR)
    except OSError as error:
        told = [line.strip() for line in str(error).splitlines() if _OF_STORE in line]
        if not told:
            raise
        typer.echo(f"metaclip: the store: {told[-1].removeprefix('OSError: ')}; the same command continues", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("metaclip: interrupted; the same command continues", err=True)
        sys.exit(130)


def run_job(command: Callable[..., None]) -> None:
    """The entry of a job module."""
    guarded(lambda: typer.run(command))
