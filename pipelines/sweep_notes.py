"""What a sweep notes of its trials, so that it goes on after it was killed: points before they run, outcomes after."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum

from metaclip_core.search_space import Point
from pipelines import storage

_POINTS, _OUTCOMES = "points", "outcomes"


class Ending(StrEnum):
    """How a trial ended."""

    FINISHED = "finished"
    STOPPED = "stopped"  # by the schedule, for others were better


@dataclass(frozen=True)
class Outcome:
    """A trial that ended."""

    number: int
    point: Point
    run_name: str
    ending: Ending
    metrics: dict[str, float]
    samples_seen: int
    rungs: list[tuple[int, float]]  # pairs seen and the sweep's metric, at each report


class Notes:
    """One sweep's folder."""

    def __init__(self, sweep_uri: str) -> None:
        self._uri = sweep_uri

    def points(self) -> list[Point]:
        """All that were handed out, in order."""
        names = storage.list_names(storage.join(self._uri, _POINTS))
        return [storage.read_json(self._place(_POINTS, number)) for number in range(len(names))]

    def outcomes(self) -> dict[int, Outcome]:
        """Of the trials that ended, by number."""
        names = storage.list_names(storage.join(self._uri, _OUTCOMES))
        found = {}
        for name in sorted(names):
            content = storage.read_json(storage.join(self._uri, _OUTCOMES, name))
            rungs = [(int(pairs), float(value)) for pairs, value in content.pop("rungs")]
            ending = Ending(content.pop("ending"))
            outcome = Outcome(**content, ending=ending, rungs=rungs)
            found[outcome.number] = outcome
        return found

    def write_point(self, number: int, point: Point) -> None:
        """Before the trial is handed out."""
        storage.write_json(self._place(_POINTS, number), point)

    def write_outcome(self, outcome: Outcome) -> None:
        """When it ended."""
        storage.write_json(self._place(_OUTCOMES, outcome.number), dataclasses.asdict(outcome))

    def _place(self, kind: str, number: int) -> str:
        return storage.join(self._uri, kind, f"{number:06d}.json")
