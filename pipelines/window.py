"""The window: which part of the stream the next execution of the data plan reads, and what it skips.

Ray Data executes a plan anew for every iteration over a split, so the plan is always the same and its readers ask a
small actor where they are. The training loop sets it: the ledger of its own checkpoint at the start, then an offset
for each window. So readers and loop can't disagree about what was consumed before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipelines.helpers import helper


@dataclass(frozen=True)
class WindowState:
    """What a reader needs to know."""

    ledger: pa.Table  # of LEDGER: what the run's checkpoint had consumed
    offset: int  # index, in that ledger's agenda, of the window's first item


class Window:
    """The actor. One for a run; each new group of workers starts it again."""

    def __init__(self) -> None:
        self._state: WindowState | None = None

    def start(self, ledger: pa.Table) -> None:
        """A group of workers begins, from the checkpoint with this ledger."""
        self._state = WindowState(ledger, 0)

    def advance(self, offset: int) -> None:
        """The next execution reads from this index of the agenda."""
        self._state = WindowState(self.state().ledger, offset)

    def state(self) -> WindowState:
        """What a reader of the current window needs."""
        if self._state is None:
            raise RuntimeError("a reader asked for the window before the training loop had set it")
        return self._state


def window_of(run_name: str) -> Any:  # noqa: ANN401 - Ray types an actor's methods without `remote`
    """The window of a run; created by whoever asks first, and gone when that process lets go of it."""
    return helper(Window, name=f"metaclip-window-{run_name}")
