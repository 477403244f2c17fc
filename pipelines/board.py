"""A small board on which a running job posts how far it is, for whoever waits to look at."""

from __future__ import annotations

from typing import Any

import ray


class Board:
    """The actor: the latest post alone."""

    def __init__(self) -> None:
        self._post: dict[str, Any] = {}

    def post(self, content: dict[str, Any]) -> None:
        """Replace the post."""
        self._post = content

    def read(self) -> dict[str, Any]:
        """The latest post; empty before the first."""
        return self._post


def board_of(run_name: str) -> Any:  # noqa: ANN401 - Ray types an actor's methods without `remote`
    """The board of a run; created by whoever asks first, and gone when that process lets go of it."""
    return ray.remote(Board).options(name=f"metaclip-board-{run_name}", get_if_exists=True, num_cpus=0).remote()
