"""A proxy that fails on purpose: what a store does on a bad day, at set rates.

Whether a request fails, and how, is a hash of the seed, of the request and of how often it was made: neither threads
nor their order change it, and a request that is made again may pass.
"""

import hashlib
import http.client
import socket
import struct
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_PIECES = 4


class Fault(StrEnum):
    """What can happen to a request."""

    UNAVAILABLE = "503, nothing done"
    RESET = "connection reset, nothing done"
    RESET_AFTER = "done, but the connection is reset before the answer"
    CUT = "half of the body, then the end"
    SLOW = "the body in pieces, with pauses"


@dataclass
class Weather:
    """How often each fault comes, and what came."""

    rates: dict[Fault, float]
    seed: int = 0
    pause_s: float = 0.05
    came: Counter = field(default_factory=Counter)
    num_requests: int = 0
    _made: Counter = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fault_of(self, request):
        """The fault of this request, or None."""
        with self._lock:
            self._made[request] += 1
            self.num_requests += 1
            digest = hashlib.sha256(f"{self.seed} {self._made[request]} {request}".encode()).digest()
            chance = int.from_bytes(digest[:8], "big") / 2**64
            for fault, rate in self.rates.items():
                chance -= rate
                if chance < 0:
                    self.came[fault] += 1
                    return fault
        return None


def evenly(rate, **options):
    """Weather with faults in `rate` of the requests, all kinds alike."""
    return Weather({fault: rate / len(Fault) for fault in Fault}, **options)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        """Silence."""

    def _serve(self):
        body = b"".join(self._chunks()) if self._is_chunked() else self.rfile.read(self._number("Content-Length"))
        fault = self.server.weather.fault_of(f"{self.command} {self.path} {self.headers.get('Range')}")
        if fault is Fault.UNAVAILABLE:
            self._answer(503, [("Content-Type", "application/xml")], _SLOW_DOWN, None)
        elif fault is Fault.RESET:
            self._reset()
        else:
            status, headers, data = self._ask(body)
            if fault is Fault.RESET_AFTER:
                self._reset()
            else:
                self._answer(status, headers, data, fault)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - http.server's names

    def _number(self, header):
        return int(self.headers.get(header) or 0)

    def _is_chunked(self):
        return self.headers.get("Transfer-Encoding") == "chunked"

    def _chunks(self):
        """The body of a client that does not know its length beforehand."""
        while length := int(self.rfile.readline().partition(b";")[0], 16):
            yield self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()

    def _ask(self, body):
        """The store's own answer."""
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        try:
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders([body] if self._is_chunked() else body, encode_chunked=self._is_chunked())
            response = connection.getresponse()
            return response.status, response.getheaders(), response.read()
        finally:
            connection.close()

    def _answer(self, status, headers, data, fault):
        self.send_response_only(status)
        framing = {"transfer-encoding", "connection"} | ({"content-length"} if self.command != "HEAD" else set())
        for name, value in headers:
            if name.lower() not in framing:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault is Fault.CUT:
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.close_connection = True
        elif fault is Fault.SLOW:
            for piece in range(_PIECES):
                time.sleep(self.server.weather.pause_s)
                self.wfile.write(data[len(data) * piece // _PIECES : len(data) * (piece + 1) // _PIECES])
        else:
            self.wfile.write(data)

    def _reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close_connection = True
        with suppress(OSError):
            self.connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that hangs up is no news."""


@contextmanager
def faulty(upstream, weather, *, host="127.0.0.1"):
    """The URL of a proxy in front of the URL `upstream`, in this weather."""
    server = _Server((host, 0), _Handler)
    server.upstream, server.weather = urlsplit(upstream).netloc, weather
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
