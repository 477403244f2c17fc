"""The funnel: rows in and rows out of every stage, and how many each reason took. Exact, and additive."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass
class Funnel:
    """Counts by (stage, reason). Funnels of shards add up to the funnel of the pool, in any order."""

    rows_in: Counter[str] = field(default_factory=Counter)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)

    def enter(self, stage: str, rows: int = 1) -> None:
        """`rows` rows arrive at `stage`."""
        self.rows_in[stage] += rows

    def drop(self, stage: str, reason: str, rows: int = 1) -> None:
        """`rows` of those that arrived at `stage` go no further, for `reason`."""
        self.dropped[stage, str(reason)] += rows

    def add(self, other: Funnel) -> Self:
        """Add the counts of `other` to this funnel."""
        self.rows_in.update(other.rows_in)
        self.dropped.update(other.dropped)
        return self

    def rows_out(self, stage: str) -> int:
        """Rows of `stage` that no reason took."""
        return self.rows_in[stage] - sum(n for (at, _), n in self.dropped.items() if at == stage)

    def to_records(self) -> list[dict[str, Any]]:
        """A dict per stage, in order of arrival: stage, rows_in, rows_out, dropped (reason → rows)."""
        return [
            {
                "stage": stage,
                "rows_in": self.rows_in[stage],
                "rows_out": self.rows_out(stage),
                "dropped": {reason: n for (at, reason), n in sorted(self.dropped.items()) if at == stage and n},
            }
            for stage in self.rows_in
        ]

    def to_json(self) -> str:
        """The records as JSON text."""
        return json.dumps(self.to_records())

    @classmethod
    def from_records(cls, records: list[Mapping[str, Any]]) -> Self:
        """The inverse of `to_records`."""
        funnel = cls()
        for record in records:
            funnel.enter(record["stage"], record["rows_in"])
            for reason, rows in record["dropped"].items():
                funnel.drop(record["stage"], reason, rows)
        return funnel

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        return cls.from_records(json.loads(text))
