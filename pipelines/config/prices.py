"""A price file: what machines hold and cost, for the capacity planner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError

from pipelines.config import describe
from pipelines.config.base import Count, Section
from pipelines.errors import UserError

Price = Annotated[float, Field(ge=0)]


class Machine(Section):
    """A data node."""

    machine: str
    cpus: Count
    gbps: Annotated[float, Field(gt=0)]  # of its network, bits
    per_hour: Price


class GpuMachine(Machine):
    """A node with GPUs."""

    gpus: Count
    kind: str  # A100, H100, …


class Prices(Section):
    """All of a price file."""

    currency: str
    store_gb_month: Price
    data: Machine
    gpu: GpuMachine


def read_prices(file: Path) -> Prices:
    """A price file.

    Raises:
        UserError: no such file, or something in it is unknown, missing or impossible.
    """
    try:
        return Prices.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"no price file {str(file)!r}: give one like cluster/prices.yaml") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"price file {file} is no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        raise UserError(f"price file {file}: " + "; ".join(describe(problem) for problem in error.errors())) from error
