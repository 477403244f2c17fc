"""What all sections of the configuration share."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from pipelines.stores import holds_keys


def _without_keys(uri: str) -> str:
    if holds_keys(uri):
        raise ValueError("a recipe holds no keys and no passwords, for it is recorded: give them in the environment")
    return uri


Uri = Annotated[str, AfterValidator(_without_keys)]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
