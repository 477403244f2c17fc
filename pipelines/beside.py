"""What goes on beside a block of the driver's program, now and again."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ray.exceptions import RayError

_log = logging.getLogger(__name__)


@contextmanager
def repeating(act: Callable[[], float], *, name: str, first_s: float) -> Iterator[None]:
    """While the block runs, call `act` from a thread.

    Args:
        act: returns for how many seconds to pause before the next call. Where Ray fails in it, that is said once, and
            it is tried again: neither the block nor what is done beside it ends with a moment of the cluster.
        name: of the thread.
        first_s: before the first call.
    """
    ended = threading.Event()

    def watch() -> None:
        pause, has_failed = first_s, False
        while not ended.wait(pause):
            try:
                pause = act()
                has_failed = False
            except RayError as error:
                if not has_failed:
                    _log.warning("%s: %s", name, str(error).splitlines()[0])
                has_failed = True

    thread = threading.Thread(target=watch, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
