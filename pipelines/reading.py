"""The driver's side of the board: takes down what workers post, for whoever watches and for the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError

from pipelines.beside import repeating
from pipelines.delivery import Delivery
from pipelines.tracking import Record

_POLL_S = 1.0
_LOSS = "train/loss"

Report = Callable[[dict[str, Any]], None]


def ignore(_: dict[str, Any]) -> None:
    """For reports that nobody looks at."""


@dataclass(frozen=True)
class Readers:
    """Who looks at what a training posts, and at what its validation does."""

    report: Report
    on_validation: Report = ignore


@contextmanager
def reading(board: Any, record: Record, readers: Readers) -> Iterator[None]:  # noqa: ANN401 - an actor's handle
    """While the block runs, put all that is posted into the record, and hand it to who looks at its kind."""
    with Delivery(record) as delivery:

        def take() -> float:
            for post in ray.get(board.take.remote()):
                delivery.put(post)
                if _LOSS in post:  # and not of a validation beside the training
                    delivery.put({"step": post["samples_seen"], f"by_samples/{_LOSS}": post[_LOSS]})
                    readers.report(post)
                else:
                    readers.on_validation(post)
            return _POLL_S

        try:
            with repeating(take, name="board", first_s=_POLL_S):
                yield
        finally:
            with suppress(RayError):  # the board goes with its cluster
                take()
