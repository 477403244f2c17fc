"""Several hosts on one machine: network namespaces behind a bridge, each with its own address and raylet.

A host's link can be taken down, as when a cable is pulled: its processes go on, and nobody hears of them. Hosts share
the machine's files, so all that they must not share is in the store.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil

PORT = 6379
_IP = shutil.which("ip") or "ip"
_BIN = Path(sys.executable).parent
_QUICK_DEATHS = {  # of a host that is silent
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "5",
}


class Host:
    """A namespace on the bridge."""

    def __init__(self, network, number):
        self.name = f"{network.name}h{number}"
        self.address = f"{network.prefix}.{number}"
        self._cable = f"{network.name}v{number}"

    def create(self, network):
        _ip("netns", "add", self.name)
        _ip("link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", self._cable, "master", network.name, "up")
        for command in (f"addr add {self.address}/24 dev eth0", "link set eth0 up", "link set lo up"):
            _ip("-n", self.name, *command.split())

    def remove(self):
        self.kill()
        _ip("netns", "delete", self.name)

    def cut_off(self):
        """Pull the cable."""
        _ip("link", "set", self._cable, "down")

    def processes(self):
        """All that run on it."""
        told = subprocess.run([_IP, "netns", "pids", self.name], capture_output=True, text=True, check=True)
        found = []
        for pid in told.stdout.split():
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(int(pid)))
        return found

    def runs(self, name):
        """Whether a process of this name is among them."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                if process.name().startswith(name):
                    return True
        return False

    def kill(self):
        """Power off."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def command(self, *command):
        """What runs a command there."""
        return [_IP, "netns", "exec", self.name, *command]


class Network:
    """A bridge with hosts."""

    def __init__(self):
        self.name = f"mc{secrets.token_hex(3)}"
        self.prefix = f"10.77.{secrets.randbelow(254)}"
        self.gateway = f"{self.prefix}.254"  # this machine's address on the bridge

    def create(self):
        _ip("link", "add", self.name, "type", "bridge")
        _ip("addr", "add", f"{self.gateway}/24", "dev", self.name)
        _ip("link", "set", self.name, "up")

    def remove(self):
        _ip("link", "delete", self.name)


def _ip(*arguments):
    subprocess.run([_IP, *arguments], check=True, capture_output=True)


def allowed():
    """Whether this user may make namespaces."""
    name = f"mc{secrets.token_hex(3)}"
    with suppress(OSError, subprocess.CalledProcessError):
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
        return True
    return False


@contextmanager
def running_network():
    """A bridge, for as long as the block runs."""
    network = Network()
    network.create()
    try:
        yield network
    finally:
        network.remove()


@contextmanager
def running_hosts(network, cpus, variables):
    """A Ray cluster, its first host the head: (hosts, environment of its programs).

    `cpus` of each host; `variables` of all their processes.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ray-")))
        hosts = []
        for number in range(1, len(cpus) + 1):
            host = Host(network, number)
            host.create(network)
            stack.callback(host.remove)
            hosts.append(host)
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        token.chmod(0o600)
        told = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}
        environment = {**os.environ, **_QUICK_DEATHS, **variables, **told}
        head = hosts[0]
        for host, number in zip(hosts, cpus, strict=True):
            where = ["--head", "--port", str(PORT), "--temp-dir", str(folder / "r"), "--include-dashboard=false"]
            if host is not head:
                where = ["--address", f"{head.address}:{PORT}"]
            options = ["--node-ip-address", host.address, "--num-cpus", str(number), "--object-store-memory"]
            command = host.command(str(_BIN / "ray"), "start", *where, *options, str(200 << 20), "--block")
            log = stack.enter_context((folder / f"{host.name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
            stack.callback(process.wait)
            stack.callback(host.kill)
            _await(host, process, folder / f"{host.name}.log")
        yield hosts, {**environment, "RAY_ADDRESS": f"{head.address}:{PORT}"}


def _await(host, process, log):
    """Until its raylet has joined."""
    deadline = time.monotonic() + 120
    while b"Ray runtime started" not in log.read_bytes():
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, f"{host.name}: {log.read_text()[-2000:]}"
        time.sleep(0.2)
