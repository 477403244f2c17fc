"""Recipes: complete configurations by name, each a YAML file that states what differs from the defaults."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from pipelines.errors import UserError


def names() -> list[str]:
    """The shipped recipes."""
    return sorted(entry.name[:-5] for entry in resources.files(__name__).iterdir() if entry.name.endswith(".yaml"))


def read(recipe: str) -> dict[str, Any]:
    """The content of a shipped recipe, or of a YAML file.

    Raises:
        UserError: there is none, or it is no mapping.
    """
    shipped = recipe in names()
    source = resources.files(__name__).joinpath(f"{recipe}.yaml") if shipped else Path(recipe)
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"no recipe {recipe!r}: give a YAML file or one of {', '.join(names())}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"recipe {recipe} is no YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"recipe {recipe} must be a mapping of keys to values")
    return {"recipe": Path(recipe).stem, **content}
