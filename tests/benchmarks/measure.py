"""What benchmarks share: interleaved timing, memory of a process tree, and the lines that say where it ran."""

import contextlib
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import psutil


def interleaved(contenders, *, rounds):
    """CPU seconds of each contender, a round after a round, so that a slow minute hits all of them.

    Returns:
        For each contender its median seconds, and the median over the rounds of how many times as fast as the first
        contender it was in the same round.
    """
    seconds = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            seconds[name].append(time.process_time() - start)
    first = next(iter(seconds.values()))
    ratios = {
        name: statistics.median(base / own for base, own in zip(first, taken, strict=True))
        for name, taken in seconds.items()
    }
    return {name: statistics.median(taken) for name, taken in seconds.items()}, ratios


def fastest(contenders, rounds):
    """Least CPU seconds of each contender, rounds interleaved: what the code costs where neighbours do not disturb."""
    seconds = dict.fromkeys(contenders, float("inf"))
    for _ in range(rounds):
        for name, run in contenders.items():
            start = time.process_time()
            run()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds


def summed_pss(pid=None):
    """Proportional memory of a process and its children, in bytes."""
    parent = psutil.Process(pid or os.getpid())
    return sum(process.memory_full_info().pss for process in (parent, *parent.children(recursive=True)))


def peak_mb():
    """The most memory that this process has held, in MiB; `ru_maxrss` is inherited from the process that started it."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


class Watch:
    """CPU seconds and peak memory of a process and all below it, looked at now and again until it ends.

    Those that end in between are known up to their last look. A worker of Ray has the name of what it ran first.
    To look at memory takes CPU, and halts what is looked at: leave it out where time is measured.
    """

    def __init__(self, pid, *, memory):
        self._root = psutil.Process(pid)
        self._memory = memory
        self._names, self._cpu_s, self._peaks = {}, {}, {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look_on, daemon=True)
        self._thread.start()

    def end(self):
        self._ended.set()
        self._thread.join()
        return self

    @property
    def cpu_s(self):
        return sum(self._cpu_s.values())

    def cpu_by_name(self):
        """(name, CPU seconds of all processes of this name), the most first."""
        sums = Counter()
        for process, seconds in self._cpu_s.items():
            sums[self._names[process]] += seconds
        return sums.most_common()

    def peaks_by_name(self):
        """Name → the largest proportional memory of a process of this name, in bytes; the largest first."""
        peaks = Counter()
        for process, peak in self._peaks.items():
            peaks[self._names[process]] = max(peaks[self._names[process]], peak)
        return dict(peaks.most_common())

    def _look_on(self):
        while not self._ended.wait(0.5 if self._memory else 2.0):
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (self._root, *self._root.children(recursive=True)):
                    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
                        self._look_at(process)

    def _look_at(self, process):
        cpu = process.cpu_times()
        self._cpu_s[process] = cpu.user + cpu.system
        if self._memory:
            self._peaks[process] = max(self._peaks.get(process, 0), process.memory_full_info().pss)
        if "(" not in self._names.get(process, ""):
            self._names[process] = "driver" if process == self._root else _short_name(process.cmdline())


def _short_name(command):
    """What a process is: of Ray's workers the stage, of scripts the file."""
    if not command:
        return "?"
    if command[0].startswith("ray::"):
        stage = re.search(r"\((\w+)\)", command[0])
        return f"({stage[1]})" if stage else command[0].strip().split(".")[0]
    scripts = [Path(part).name for part in command[:4] if part.endswith(".py")]
    return scripts[0] if scripts else Path(command[0]).name


def provenance():
    """Command, commit and machine of a result, as markdown."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"- command: `python {' '.join(sys.argv)}`\n"
        f"- commit: {commit.stdout.strip() or 'unknown'}\n"
        f"- machine: {os.cpu_count()} cores ({platform.machine()}, shared), {memory:.0f} GiB, "
        f"Python {platform.python_version()}\n"
    )
