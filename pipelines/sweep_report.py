"""What came out of a sweep: its trials, an ablation's table or a study's laws, as JSON and plots."""

from __future__ import annotations

import dataclasses
import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from metaclip_core.balancing import ENGLISH
from metaclip_core.intervals import Mean, mean_of
from metaclip_core.plots import Curve, interval_rows, law_curves
from metaclip_core.scaling_laws import CONFIDENCE, Interval, Law, Observation, crossing, fit
from metaclip_core.shapes import SHAPES, Preset, flop_of_pair
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.sweep_notes import Ending, Outcome
from pipelines.tracking import Record, forgiving
from pipelines.trials import ARM

_RESULT, _PLOTS = "result.json", "plots"
_LINE_POINTS = 40
_NOT_IDENTIFIABLE = "not identifiable"
_OUT_OF_REACH = "none in reach"
_ENGLISH_ONLY, _WORLDWIDE = "english", "worldwide"


class Pairs(Enum):
    """Which pairs a law counts."""

    ALL = 1
    ENGLISH = 2


@dataclass(frozen=True)
class Study:
    """A finished trial as a point of the laws."""

    outcome: Outcome
    config: RunConfig
    english_share: float  # of the pairs that its draw keeps

    @property
    def group(self) -> str:
        """Whether its metadata are English alone."""
        return _ENGLISH_ONLY if self.config.metadata.languages == [ENGLISH] else _WORLDWIDE

    @property
    def dial(self) -> str:
        """What sets its thresholds."""
        curation = self.config.curation
        return f"p = {curation.p:g}" if curation.t_en is None else f"t_en = {curation.t_en}"

    @property
    def flop(self) -> float:
        """Of a pair."""
        return flop_of_pair(SHAPES[Preset(self.config.model.preset)])

    def observed(self, metric: str, pairs: Pairs) -> Observation:
        """As the laws take it."""
        share = self.english_share if pairs is Pairs.ENGLISH else 1.0
        return Observation(self.flop, share * self.outcome.samples_seen, 1 - self.outcome.metrics[metric])


def ablation(config: RunConfig, outcomes: Sequence[Outcome]) -> dict[str, dict[str, Mean]]:
    """Arm → metric → the mean over its finished trials."""
    metrics = [config.sweep.metric, *config.sweep.also]
    table: dict[str, dict[str, Mean]] = {}
    for arm in config.sweep.arms:
        ended = [one for one in outcomes if one.point.get(ARM) == arm and one.ending is Ending.FINISHED]
        if ended:  # all of an arm may have failed
            table[arm] = {metric: mean_of([one.metrics[metric] for one in ended]) for metric in metrics}
    return table


def scaling(config: RunConfig, found: Sequence[Study]) -> dict[str, Any]:
    """Laws for each metric, group and dial; where worldwide stops costing English; what to take."""
    metrics = [config.sweep.metric, *config.sweep.also]
    laws = {
        (metric, group, dial): law
        for metric in metrics
        for group, dial in sorted({(one.group, one.dial) for one in found})
        if (law := _law(_of(found, group, dial), metric, Pairs.ALL))
    }
    return {
        "confidence": CONFIDENCE,
        "laws": [
            {
                "metric": metric,
                "group": group,
                "dial": dial,
                "trainings": len(law.points),
                "parameters": {name: _told(value) for name, value in law.parameters().items()},
            }
            for (metric, group, dial), law in laws.items()
        ],
        "worldwide_stops_costing_english": _crossings(metrics, found),
        "recommendation": _recommendation(config, laws, found),
    }


def _of(found: Sequence[Study], group: str, dial: str) -> list[Study]:
    return [one for one in found if (one.group, one.dial) == (group, dial)]


def _law(found: Sequence[Study], metric: str, pairs: Pairs) -> Law | None:
    try:
        return fit([one.observed(metric, pairs) for one in found])
    except ValueError:  # too few different numbers of pairs
        return None


def _crossings(metrics: Sequence[str], found: Sequence[Study]) -> list[dict[str, Any]]:
    """Where a worldwide training that saw as many English pairs is as good in English as one on English alone."""
    told = []
    dials = sorted({one.dial for one in found})
    for metric, dial in itertools.product([name for name in metrics if f"/{ENGLISH}/" in name], dials):
        groups = [_of(found, group, dial) for group in (_WORLDWIDE, _ENGLISH_ONLY)]
        worldwide, english = (_law(group, metric, Pairs.ENGLISH) for group in groups)
        if worldwide is None or english is None:
            continue
        least = min(one.observed(metric, Pairs.ENGLISH).pairs for group in groups for one in group)
        for preset in _presets(found):
            at = crossing(worldwide, english, flop=flop_of_pair(SHAPES[preset]), from_pairs=least)
            pairs: Any = _OUT_OF_REACH if at is None else _told(at)
            where = {"metric": metric, "dial": dial, "model": str(preset), "fewest_tried": least}
            told.append({**where, "english_pairs": pairs})
    return told


def _presets(found: Sequence[Study]) -> list[Preset]:
    return sorted({Preset(one.config.model.preset) for one in found})


def _recommendation(
    config: RunConfig, laws: Mapping[tuple[str, str, str], Law], found: Sequence[Study]
) -> dict[str, Any] | None:
    """The dial and model with the least expected error within the compute budget, and the others behind it."""
    budget = config.sweep.compute_budget_flop
    if budget is None:
        return None
    candidates: list[dict[str, Any]] = []
    for (metric, group, dial), law in laws.items():
        if metric != config.sweep.metric or group != _WORLDWIDE:
            continue
        for preset in _presets(found):
            flop = flop_of_pair(SHAPES[preset])
            pairs = budget / flop
            candidates.append(
                {
                    "dial": dial,
                    "model": str(preset),
                    "seen_pairs": int(pairs),
                    "error": _told(law.error(flop, pairs)),
                    "times_the_largest_training": pairs / law.most_pairs,
                }
            )
    candidates.sort(key=lambda one: one["error"]["value"])
    return {"compute_flop": budget, "metric": config.sweep.metric, "best_first": candidates}


def _told(found: Interval) -> dict[str, Any]:
    if not found.is_identified:
        return {"value": found.value, "interval": _NOT_IDENTIFIABLE}
    return {"value": found.value, "interval": [found.low, found.high]}


def ablation_json(table: Mapping[str, Mapping[str, Mean]]) -> dict[str, Any]:
    """As JSON."""
    return {arm: {metric: dataclasses.asdict(mean) for metric, mean in of_arm.items()} for arm, of_arm in table.items()}


def ablation_plots(table: Mapping[str, Mapping[str, Mean]]) -> dict[str, str]:
    """A plot for each metric, as SVG by file name."""
    metrics = list(next(iter(table.values()), {}))
    return {
        _file(metric): interval_rows(
            {arm: (of_arm[metric].value, of_arm[metric].low, of_arm[metric].high) for arm, of_arm in table.items()}
        )
        for metric in metrics
    }


def scaling_plots(config: RunConfig, found: Sequence[Study]) -> dict[str, str]:
    """A plot for each metric, as SVG by file name: trainings, and the laws through them."""
    plots = {}
    for metric in [config.sweep.metric, *config.sweep.also]:
        panels: dict[str, dict[tuple[str, str], Curve]] = {}
        for group, dial, preset in sorted({(one.group, one.dial, one.config.model.preset) for one in found}):
            of_law = _of(found, group, dial)
            mine = [one for one in of_law if one.config.model.preset == preset]
            points = [(float(one.outcome.samples_seen), 1 - one.outcome.metrics[metric]) for one in mine]
            law = _law(of_law, metric, Pairs.ALL)
            line = []
            if law:
                pairs = np.geomspace(min(points)[0], max(points)[0], _LINE_POINTS)
                errors = law.errors(np.column_stack([np.full(_LINE_POINTS, mine[0].flop), pairs]))
                line = list(zip(pairs.tolist(), errors.tolist(), strict=True))
            panels.setdefault(dial, {})[group, preset] = Curve(points, line)
        plots[_file(metric)] = law_curves(panels, label=f"error of {metric}")
    return plots


def _file(metric: str) -> str:
    return f"{metric.replace('/', '-')}.svg"


def publish(uri: str, record: Record, content: Mapping[str, Any], plots: Mapping[str, str]) -> None:
    """`result.json` and the plots, into the sweep's folder and its record."""
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        (folder / _PLOTS).mkdir()
        for file, svg in plots.items():
            (folder / _PLOTS / file).write_text(svg, encoding="utf-8")
        (folder / _RESULT).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
        storage.upload_folder(folder, uri)
        with forgiving("what came out of the sweep"):
            record.log_folder(folder, "sweep")
