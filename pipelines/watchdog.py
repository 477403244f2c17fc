"""Ends a worker that is stuck, with a reason and the stacks of its threads, for others wait for it in vain.

Time-outs of the store, of collectives and of Ray Data end most that can hang; this one ends the rest, whatever it is.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Self

EXIT_CODE = 70  # of a process that was stuck
_STANDARD_ERROR = 2  # the file's number, whatever `sys.stderr` is
_GRACE_S = 60.0  # of a process that does not even run Python


class Watchdog:
    """Watches the thread that beats, while the block runs.

    Args:
        limit_s: between two beats.
        report: is handed the reason and the stacks; has ten seconds, then the process ends.
    """

    def __init__(self, limit_s: float, report: Callable[[str, str], None]) -> None:
        self._limit_s = limit_s
        self._report = report
        self._last = time.monotonic()
        self._doing = "starting"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self, doing: str) -> None:
        """All is well so far; next comes what is named."""
        self._last, self._doing = time.monotonic(), doing
        # a thread outside of Python, for a call that never gives the interpreter back
        faulthandler.dump_traceback_later(self._limit_s + _GRACE_S, exit=True, file=_STANDARD_ERROR)

    def __enter__(self) -> Self:
        self.beat(self._doing)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while not self._stop.wait(max(0.0, self._last + self._limit_s - time.monotonic())):
            if time.monotonic() - self._last >= self._limit_s:
                self._end()
                return

    def _end(self) -> None:
        reason = f"no progress in {self._limit_s:g} s while {self._doing}"
        told = threading.Thread(target=self._report, args=(reason, stacks()), daemon=True)
        told.start()
        told.join(10)
        os._exit(EXIT_CODE)


def stacks() -> str:
    """The stack of every thread of this process."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return "\n".join(
        f"thread {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}"
        for ident, frame in sys._current_frames().items()  # noqa: SLF001 - what the standard library has for it
    )
