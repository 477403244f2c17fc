"""Real tracking servers for the tests: `mlflow server` on sqlite or PostgreSQL, stopped by process id; a browser."""

import os
import pwd
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.stores import free_ports

MLFLOW = [sys.executable, "-m", "mlflow"]
_START_TIMEOUT_S = 240


@contextmanager
def running_postgres(folder):
    """A PostgreSQL server on loopback; its URI for SQLAlchemy. Skips where there is none."""
    programs = {name: _program(name) for name in ("initdb", "pg_ctl")}
    if None in programs.values():
        pytest.skip("PostgreSQL is not installed: its tracking server is not tested")
    [port] = free_ports(1)
    data, user = folder / "postgres", _other_user()
    folder.mkdir(parents=True, exist_ok=True)
    as_user = []
    if user is not None:  # it refuses to run as root
        _open_to(folder, user)
        as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    environment = {**os.environ, "LC_ALL": "C"}

    def run(*command):
        subprocess.run([*as_user, *command], check=True, capture_output=True, env=environment, cwd=folder)

    run(programs["initdb"], "-D", str(data), "-U", "mlflow", "--auth=trust", "--encoding=UTF8", "--no-sync")
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
    run(programs["pg_ctl"], "-D", str(data), "-o", options, "-l", str(folder / "log"), "-w", "-t", "120", "start")
    try:
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        run(programs["pg_ctl"], "-D", str(data), "-m", "immediate", "-w", "stop")


def _program(name):
    places = [os.environ.get("PATH", ""), *sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")))]
    return shutil.which(name, path=os.pathsep.join(places))


def _other_user():
    """Somebody else, where the tests run as root."""
    if os.geteuid():
        return None
    if shutil.which("setpriv") is None:
        pytest.skip("PostgreSQL does not run as root, and there is no setpriv to run it as another user")
    return pwd.getpwnam("nobody")


def _open_to(folder, user):
    """Give the folder away, and let its owner reach it."""
    os.chown(folder, user.pw_uid, user.pw_gid)
    for above in folder.parents:
        if above.stat().st_uid == os.geteuid() and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o001)


class TrackingServer:
    """`mlflow server`, which may be stopped and started again where it was."""

    def __init__(self, folder, *, backend, artifacts, environment=None, options=()):
        [port] = free_ports(1)
        self.uri = f"http://127.0.0.1:{port}"
        stores = ["--backend-store-uri", backend, "--artifacts-destination", artifacts]
        self._command = [*MLFLOW, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", *stores]
        self._command += options
        self._folder, self._environment, self._process = folder, {**os.environ, **(environment or {})}, None

    def start(self):
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                env=self._environment,
                cwd=self._folder,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=5).close()  # noqa: S310 - of loopback
            except (urllib.error.URLError, OSError):
                assert self._process.poll() is None, (self._folder / "server.log").read_text()[-4000:]
                assert time.monotonic() < deadline
                time.sleep(0.2)
            else:
                return

    def stop(self):
        os.killpg(self._process.pid, 9)
        self._process.wait()


@contextmanager
def running_tracking_server(folder, *, backend, artifacts, environment=None, options=()):
    folder.mkdir(parents=True, exist_ok=True)
    server = TrackingServer(folder, backend=backend, artifacts=artifacts, environment=environment, options=options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def browse(url, screenshot, *, seconds=60):
    """The page's content once its scripts have run, as a browser has it; also as an image. Skips without a browser."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed: the pages are not looked at")
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={screenshot.parent / 'chromium'}", "--window-size=1600,1400"]
    command += [f"--virtual-time-budget={seconds * 1000}", "--run-all-compositor-stages-before-draw"]
    for option in (f"--screenshot={screenshot}", "--dump-dom"):
        done = subprocess.run([*command, option, url], capture_output=True, text=True, timeout=240, check=True)
    return done.stdout
