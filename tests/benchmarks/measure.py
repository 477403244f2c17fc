"""What benchmarks share: interleaved timing, memory of a process tree, and the lines that say where it ran."""

import os
import platform
import statistics
import subprocess
import sys
import time
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
