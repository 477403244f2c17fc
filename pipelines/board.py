"""A small board on which the workers of a running job post how far they are, for its driver to take down.

Whoever reads it may have the run stop.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from pipelines.helpers import helper

_MAX_POSTS = 10_000  # of a driver that does not look


class Board:
    """The actor: posts in order, each until it is taken."""

    def __init__(self) -> None:
        self._posts: deque[dict[str, Any]] = deque(maxlen=_MAX_POSTS)
        self._is_stopped = False

    def post(self, content: dict[str, Any]) -> bool:
        """Put one up. Returns whether the run is to stop."""
        self._posts.append(content)
        return self._is_stopped

    def stop(self) -> None:
        """From now on the run is to stop."""
        self._is_stopped = True

    def take(self) -> list[dict[str, Any]]:
        """All that are up, oldest first; then none is."""
        posts = list(self._posts)
        self._posts.clear()
        return posts


def board_of(run_name: str) -> Any:  # noqa: ANN401 - Ray types an actor's methods without `remote`
    """The board of a run; created by whoever asks first, and gone when that process lets go of it."""
    return helper(Board, name=f"metaclip-board-{run_name}")
