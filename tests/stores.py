"""A real S3 server for the tests: SeaweedFS on loopback, its data in a folder, stopped by process id."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.fs as pafs

BUCKET = "clip-test"
_SERVERS = ("master", "volume", "filer", "s3")
_START_TIMEOUT_S = 120


@dataclass(frozen=True)
class Store:
    """A running S3 server with one bucket, and the keys to it."""

    endpoint: str
    access_key: str
    secret_key: str

    def environment(self, endpoint=None):
        """What a program finds the server by: through `endpoint`, where something stands in front of it."""
        return {
            "AWS_ENDPOINT_URL": endpoint or self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def filesystem(self):
        """A plain file system, which is not the program's own."""
        return pafs.S3FileSystem(
            access_key=self.access_key,
            secret_key=self.secret_key,
            endpoint_override=self.endpoint,
            region="us-east-1",
            allow_bucket_creation=True,
        )

    def upload(self, folder, name):
        """Copy a folder's files into the bucket; returns their URI."""
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            key = f"{BUCKET}/{name}/{path.relative_to(folder).as_posix()}"
            with self.filesystem().open_output_stream(key) as stream:
                stream.write(path.read_bytes())
        return f"s3://{BUCKET}/{name}"

    def names(self, name):
        """The names of all files below a folder of the bucket."""
        selector = pafs.FileSelector(f"{BUCKET}/{name}", recursive=True, allow_not_found=True)
        return [info.path for info in self.filesystem().get_file_info(selector) if info.is_file]

    def files(self, uri):
        """The content of every file below a URI, by its name."""
        root, filesystem = uri.removeprefix("s3://"), self.filesystem()
        infos = filesystem.get_file_info(pafs.FileSelector(root, recursive=True, allow_not_found=True))
        return {
            info.path[len(root) + 1 :]: filesystem.open_input_file(info.path).readall()
            for info in infos
            if info.is_file
        }


def free_ports(number):
    """Ports of loopback that nobody listens on, each another one."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for held in sockets:
            held.bind(("127.0.0.1", 0))
        return [held.getsockname()[1] for held in sockets]


@contextmanager
def running_store(folder):
    """A server whose data and log lie in `folder`."""
    folder.mkdir(parents=True)
    access_key, secret_key = f"access-{secrets.token_hex(8)}", f"secret-{secrets.token_hex(16)}"
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    identities = folder / "identities.json"
    identities.write_text(json.dumps({"identities": [identity]}))
    ports = iter(free_ports(2 * len(_SERVERS)))
    settings = {f"{server}.port{kind}": next(ports) for server in _SERVERS for kind in ("", ".grpc")}
    settings |= {"s3.port.iceberg": 0, "s3.port.lance": 0, "volume.max": 40, "master.volumeSizeLimitMB": 64}
    settings |= {"volume.preStopSeconds": 0, "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": folder / "data"}
    settings |= {"s3.config": identities, "s3.iam": "false", "master.telemetry": "false"}
    (folder / "data").mkdir()
    command = [
        _program(),
        "-logtostderr=true",
        "server",
        "-s3",
        *(f"-{key}={value}" for key, value in settings.items()),
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=_plain_environment())
    store = Store(f"http://127.0.0.1:{settings['s3.port']}", access_key, secret_key)
    try:
        _await(store, server, folder / "log")
        yield store
    finally:
        server.kill()  # its own way to end takes a quarter of a minute, and nothing is to be kept
        server.wait()


def _program():
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


def _plain_environment():
    """Without the proxies and keys of whoever runs the tests."""
    return {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "TMPDIR"}}


def _await(store, server, log):
    """Until a bucket can be made; the gateway answers before the volumes are there."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    while True:
        assert server.poll() is None, log.read_text(errors="replace")[-2_000:]
        assert time.monotonic() < deadline, log.read_text(errors="replace")[-2_000:]
        try:
            urllib.request.urlopen(f"{store.endpoint}/healthz", timeout=5).close()  # noqa: S310 - loopback
            filesystem = store.filesystem()
            filesystem.create_dir(BUCKET)
            filesystem.open_output_stream(f"{BUCKET}/ready").close()
        except OSError:
            time.sleep(0.1)
        else:
            return
