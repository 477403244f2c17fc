"""The trainings that the points of a sweep stand for: curated before they run, none twice, within the budget."""

from __future__ import annotations

from enum import Enum
from functools import cached_property

from metaclip_core.balancing import ENGLISH
from metaclip_core.search_space import Point
from pipelines.config import RunConfig
from pipelines.curate import CurationResult, curate, locate
from pipelines.manifest import Manifest, update_manifest
from pipelines.runs import run_name, scaled
from pipelines.shards import Progress
from pipelines.trials import trial_config


class Verdict(Enum):
    """What is to be done with a point."""

    NEW = 1
    SAME = 2  # another point is the same training
    OVER_BUDGET = 3


class Trainings:
    """Of one sweep. A curation is made once for each distinct configuration; another t leaves counts as they are."""

    def __init__(self, config: RunConfig, *, progress: Progress) -> None:
        self._config = config
        self._progress = progress
        self._curations: dict[str, CurationResult] = {}
        self._points: dict[str, Point] = {}  # by run
        self._left = config.sweep.budget_pairs

    @cached_property
    def _manifest(self) -> Manifest:
        """Of the pool, which no dial changes: listed once for all points."""
        return update_manifest(self._config)

    @property
    def versions(self) -> list[str]:
        """Of all curations so far."""
        return sorted(self._curations)

    def prepare(self, point: Point) -> tuple[RunConfig, str]:
        """The configuration and the name of a point's run; its curation is there then.

        Raises:
            UserError: what a curation raises, or an impossible configuration.
        """
        config = trial_config(self._config, point)
        version = locate(config, self._manifest).version
        if version not in self._curations:
            self._curations[version] = curate(config, progress=self._progress)
        curation = self._curations[version]
        config = scaled(config, curation)
        return config, run_name(config, curation.curated)

    def english_share(self, point: Point) -> float:
        """Of the pairs that a point's draw keeps on average."""
        config, _ = self.prepare(point)
        expected = self._curations[locate(config, self._manifest).version].expected
        return expected.get(ENGLISH, 0.0) / sum(expected.values())

    def judge(self, point: Point) -> Verdict:
        """Whether it is a training of its own and within the budget; then it is taken down."""
        config, name = self.prepare(point)
        if name in self._points:
            return Verdict.SAME
        if self._left is not None:
            pairs = config.training.steps * config.training.global_batch_size
            if pairs > self._left:
                return Verdict.OVER_BUDGET
            self._left -= pairs
        self._points[name] = point
        return Verdict.NEW
