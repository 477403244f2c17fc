"""What a sweep tries, and what it compares."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, model_validator

from metaclip_core.search_space import Choice, Dial, Interval
from pipelines.config.base import Count, Section


class DialScale(StrEnum):
    """How a range is drawn from."""

    LINEAR = "linear"
    LOG = "log"


class RangeConfig(Section):
    """Numbers from `low` to `high`; whole ones where both are."""

    low: int | float
    high: int | float
    scale: DialScale = DialScale.LINEAR

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low {self.low} must be less than high {self.high}")
        if self.scale is DialScale.LOG and self.low <= 0:
            raise ValueError(f"a range of scale log starts above 0, not at {self.low}")
        return self


class Search(StrEnum):
    """Which points of the space are tried."""

    GRID = "grid"  # all
    RANDOM = "random"
    OPTUNA = "optuna"  # those that earlier results make likely


class Schedule(StrEnum):
    """How long trials run."""

    FULL = "full"  # to their end
    ASHA = "asha"  # the worse ones are stopped early: for a ranking


class Analysis(StrEnum):
    """What is made of the trials, beside their ranking."""

    RANKING = "ranking"
    ABLATION = "ablation"  # each arm's mean over its trials, with an interval
    SCALING = "scaling"  # laws over model size and seen pairs, and what they recommend


Positions = Annotated[list[JsonValue], Field(min_length=1)]


class SweepConfig(Section):
    """A search over fields of the recipe, each a path such as `training.learning_rate`.

    `seen_pairs` stands for the number of steps that it takes. To turn one of `curation.p` and `curation.t_en` unsets
    the other.
    """

    dials: dict[str, Positions | RangeConfig] = Field(default_factory=dict)
    arms: dict[str, dict[str, JsonValue]] = Field(default_factory=dict)  # named settings of several fields, each tried
    search: Search = Search.GRID
    trials: Count | None = None  # None: all of a grid
    seed: int = 0  # of what is drawn
    budget_pairs: Count | None = None  # seen by all trials together, at most
    schedule: Schedule = Schedule.FULL
    grace_pairs: Count | None = None  # a trial that has seen fewer is not stopped; None: a tenth of the longest one
    reduction: Annotated[int, Field(ge=2)] = 3  # one of so many goes on
    at_once: Count | None = None  # trials; None: as many as the cluster holds
    max_failures: Annotated[int, Field(ge=0)] = 2  # of a trial's own process
    metric: str = "train/loss"
    best_is: Literal["min", "max"] = "min"
    also: list[str] = Field(default_factory=list)  # further metrics for tables and laws
    analysis: Analysis = Analysis.RANKING
    compute_budget_flop: Annotated[float | None, Field(gt=0)] = None  # of a training that laws are asked about
    champion: str | None = None  # registered model that the best trial becomes; None: none

    @model_validator(mode="after")
    def _searches_what_there_is(self) -> Self:
        for path, dial in self.dials.items():
            if isinstance(dial, list) and len({repr(value) for value in dial}) < len(dial):
                raise ValueError(f"dial {path} has a position twice")
            if isinstance(dial, RangeConfig) and self.search is Search.GRID:
                raise ValueError(f"dial {path} is a range, which no grid exhausts: give a list, or another search")
        for name, settings in self.arms.items():
            if twice := sorted(settings.keys() & self.dials.keys()):
                raise ValueError(f"arm {name} sets {twice[0]}, and so does a dial")
        if self.search is not Search.GRID and self.trials is None and self.budget_pairs is None:
            raise ValueError(f"search {self.search} does not end by itself: give trials or budget_pairs")
        if self.search is Search.GRID and self.trials is not None:
            raise ValueError("a grid has as many trials as points: leave trials out")
        if self.analysis is Analysis.ABLATION and not self.arms:
            raise ValueError("an ablation compares arms: give some")
        return self

    def space(self) -> dict[str, Dial]:
        """The dials; the arms, where there are any, are one by the name `arm`."""
        dials: dict[str, Dial] = {}
        if self.arms:
            dials["arm"] = Choice(tuple(self.arms))
        for path, dial in self.dials.items():
            if isinstance(dial, list):
                dials[path] = Choice(tuple(dial))
            else:
                whole = isinstance(dial.low, int) and isinstance(dial.high, int)
                dials[path] = Interval(dial.low, dial.high, is_log=dial.scale is DialScale.LOG, is_integer=whole)
        return dials
