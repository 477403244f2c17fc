"""What is kept of a run that ended badly, below the run's folder, for people to look at: never read by the program."""

from __future__ import annotations

import pyarrow as pa

from pipelines import storage

_DIVERGED = "diverged"
_STUCK = "stuck"


def diverged_uri(run_uri: str, step: int) -> str:
    """The folder of a step whose gradient was not finite."""
    return storage.join(run_uri, _DIVERGED, f"step-{step:08d}")


def stuck_uri(run_uri: str) -> str:
    """The folder of what stuck workers had to say."""
    return storage.join(run_uri, _STUCK)


def write_diverged(run_uri: str, *, step: int, rank: int, rows: pa.Table, state: dict[str, float | bool]) -> None:
    """Store the rows of a rank's batch, and what else the rank saw."""
    folder = diverged_uri(run_uri, step)
    storage.write_table(storage.join(folder, f"rank-{rank:05d}.parquet"), rows)
    storage.write_json(storage.join(folder, f"rank-{rank:05d}.json"), state)


def write_stuck(run_uri: str, *, rank: int, reason: str, stacks: str, when: int) -> None:
    """Store the reason why a rank was ended, and the stacks of its threads."""
    uri = storage.join(stuck_uri(run_uri), f"{when}-rank-{rank:05d}.txt")
    storage.write_bytes(uri, f"rank {rank}: {reason}\n\n{stacks}".encode())


def stuck_since(run_uri: str, when: int) -> list[str]:
    """The reasons of ranks that were stuck at or after a time, in seconds since 1970."""
    folder = stuck_uri(run_uri)
    names = [name for name in sorted(storage.list_names(folder)) if int(name.split("-")[0]) >= when]
    return [storage.read_bytes(storage.join(folder, name)).decode().splitlines()[0] for name in names]
