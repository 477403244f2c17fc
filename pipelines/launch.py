"""What Ray Train is handed of a run: its stream, its loop, and the trial of its checkpoints.

Ray's controller and coordinators load these too, and compute nothing. So what computes, with torch and the models, is
imported where it begins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ray
import ray.train

from metaclip_core.shapes import SHAPES, Preset
from pipelines import storage
from pipelines.cluster import prepare_data
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.decode import apply_decode
from pipelines.feed import apply_feed

TRAIN = "train"  # the data set's name


@dataclass(frozen=True)
class WorkerSpec:
    """All that a worker is told."""

    config: RunConfig
    curated: Curated
    run_name: str
    tokenizer_uri: str

    @property
    def run_uri(self) -> str:
        """The run's folder."""
        return storage.Layout(self.config.root).run(self.run_name)


def training_stream(spec: WorkerSpec) -> ray.data.Dataset:
    """Positions → training examples of one window. Lazy: nothing runs here."""
    prepare_data(spec.config.compute)
    shape = SHAPES[Preset(spec.config.model.preset)]
    drawn = apply_feed(spec.config, spec.curated, run_name=spec.run_name)
    return apply_decode(
        drawn,
        spec.config,
        tokenizer_uri=spec.tokenizer_uri,
        context_length=shape.context_length,
        image_size=shape.image_size,
    )


def train_loop(arguments: dict[str, Any]) -> dict[str, Any]:
    """Ray Train's entry on every worker; `arguments` holds a WorkerSpec as `spec`. Returns what `run_worker` does."""
    shard = ray.train.get_dataset_shard(TRAIN)  # its coordinator starts beside the imports
    from pipelines.worker import run_worker  # noqa: PLC0415 - see above

    return run_worker(arguments["spec"], shard)


def validate(checkpoint: ray.train.Checkpoint, **arguments: Any) -> dict[str, float]:  # noqa: ANN401 - plain values
    """Ray Train's entry beside the training, for each checkpoint."""
    from pipelines.validation import validate_checkpoint  # noqa: PLC0415 - see above

    return validate_checkpoint(checkpoint, **arguments)
