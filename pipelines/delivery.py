"""Metrics on their way to MLflow: kept while the server is away, delivered when it is back. Training never waits."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from pipelines.storage import first_line
from pipelines.tracking import Record, TrackingError

_MOST_POSTS = 100_000
_PAUSE_S = 5.0  # after a failure
_LAST_S = 60.0  # for what is left when the run is over

_log = logging.getLogger(__name__)


class Delivery:
    """Sends posts in order from a thread of its own, while the block runs."""

    def __init__(self, record: Record, *, pause_s: float = _PAUSE_S, last_s: float = _LAST_S) -> None:
        self._record = record
        self._pause_s = pause_s
        self._last_s = last_s
        self._posts: deque[Mapping[str, Any]] = deque()
        self.lost = 0
        self._wake = threading.Condition()
        self._over: float | None = None  # when to give up
        self._has_failed = False
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)

    def put(self, post: Mapping[str, Any]) -> None:
        """Have metrics delivered; `step` is theirs."""
        with self._wake:
            if len(self._posts) == _MOST_POSTS:
                self._posts.popleft()
                self.lost += 1
            self._posts.append(post)
            self._wake.notify()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._wake:
            self._over = time.monotonic() + self._last_s
            self._wake.notify()
        self._thread.join()
        if self.lost:
            _log.warning("%d reports did not reach the record: its server did not answer", self.lost)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._posts or self._over is not None)
                if not self._posts:
                    return
                post = dict(self._posts.popleft())
            if not self._deliver(post, step=int(post.pop("step"))):
                self.lost += 1 + len(self._posts)
                return

    def _deliver(self, metrics: Mapping[str, float], *, step: int) -> bool:
        """Try until it succeeds, or until the run has been over for too long."""
        while True:
            try:
                self._record.log_metrics(metrics, step=step)
            except TrackingError as error:
                if not self._has_failed:
                    _log.warning("the record takes no metrics, so they are kept until it does: %s", first_line(error))
                self._has_failed = True
                if self._over is not None and time.monotonic() > self._over:
                    return False
                time.sleep(self._pause_s)
            else:
                return True
