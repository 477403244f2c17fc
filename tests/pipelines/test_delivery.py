import threading
import time

import pytest

from pipelines.delivery import Delivery
from pipelines.tracking import TrackingError


class Server:
    """A record whose server is away until `back` is set."""

    def __init__(self, *, is_away):
        self.back = threading.Event()
        self.refused = threading.Event()
        self.taken = []
        if not is_away:
            self.back.set()

    def log_metrics(self, metrics, *, step):
        if not self.back.is_set():
            self.refused.set()
            raise TrackingError("no answer")
        self.taken.append((step, dict(metrics)))


def posts(number):
    return [{"step": step, "train/loss": float(step)} for step in range(number)]


def test_posts_arrive_in_order():
    server = Server(is_away=False)
    with Delivery(server) as delivery:
        for post in posts(20):
            delivery.put(post)
    assert server.taken == [(step, {"train/loss": float(step)}) for step in range(20)]
    assert delivery.lost == 0


def test_posts_wait_for_a_server_that_is_away_and_nobody_waits_for_it():
    server = Server(is_away=True)
    with Delivery(server, pause_s=0.01) as delivery:
        started = time.monotonic()
        for post in posts(50):
            delivery.put(post)
        assert time.monotonic() - started < 1
        assert server.refused.wait(10)
        server.back.set()
    assert [step for step, _ in server.taken] == list(range(50))
    assert delivery.lost == 0


def test_posts_that_never_arrive_are_counted_and_said(caplog):
    server = Server(is_away=True)
    with Delivery(server, pause_s=0.01, last_s=0.1) as delivery:
        for post in posts(7):
            delivery.put(post)
    assert delivery.lost == 7
    assert "7 reports did not reach the record" in caplog.text


def test_run_that_fails_still_delivers():
    server = Server(is_away=False)

    def fail():
        with Delivery(server) as delivery:
            delivery.put({"step": 1, "train/loss": 2.0})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert server.taken == [(1, {"train/loss": 2.0})]
