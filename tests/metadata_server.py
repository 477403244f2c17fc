"""A stand-in for a cloud's metadata server."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Metadata:
    """What it answers, and what it was asked."""

    notice: dict | None = None  # of AWS
    preempted: bool = False  # of GCP
    tokens: int = 0
    failures: int = 0  # of the next requests
    url: str = ""

    @property
    def token(self):
        return f"token-{self.tokens}"


class _Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        metadata = self.server.metadata
        asked_well = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        if self.fails() or not asked_well:
            self.answer(503)
            return
        metadata.tokens += 1
        self.answer(200, metadata.token)

    def do_GET(self):
        if self.fails():
            self.answer(503)
        elif self.path == "/latest/meta-data/spot/instance-action":
            self.answer_aws(self.server.metadata)
        elif self.path == "/computeMetadata/v1/instance/preempted" and self.headers["Metadata-Flavor"] == "Google":
            self.answer(200, "TRUE" if self.server.metadata.preempted else "FALSE")
        else:
            self.answer(403)

    def answer_aws(self, metadata):
        if self.headers["X-aws-ec2-metadata-token"] != metadata.token:
            self.answer(401)
        elif metadata.notice is None:
            self.answer(404)
        else:
            self.answer(200, json.dumps(metadata.notice))

    def fails(self):
        self.server.metadata.failures -= 1
        return self.server.metadata.failures >= 0

    def answer(self, status, text=""):
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments):
        pass


@contextmanager
def running_metadata(**state):
    """A metadata server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.metadata = Metadata(**state, url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.metadata
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)
