"""What all sections of the configuration share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.stores import holds_keys

_Content = TypeVar("_Content")


def without_keys(content: _Content) -> _Content:
    """`content`, a URI or JSON of any depth, as it is. Raises ValueError when it holds a URI with keys."""
    if any(holds_keys(text) for text in _texts(content)):
        raise ValueError("a recipe holds no keys and no passwords, for it is recorded: give them in the environment")
    return content


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list | dict):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _texts(part)


Uri = Annotated[str, AfterValidator(without_keys)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
