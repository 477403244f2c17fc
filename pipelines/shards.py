"""What steps share that write one file for each shard: a killed job repeats only what it had not finished.

The funnel of a shard travels in its file's metadata.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from metaclip_core.funnel import Funnel
from pipelines import storage
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.steady import SteadyFile

Progress = Callable[[str, int, int], None]  # step, done, of

_FUNNEL = "funnel"  # key of the file's metadata


def finish(
    step: str,
    manifest: Manifest,
    apply: Callable[[Manifest], ray.data.Dataset],
    *,
    folder_uri: str,
    progress: Progress,
) -> None:
    """Take a step with the shards that have no file in its folder.

    Args:
        step: its name, for `progress`.
        manifest: all shards.
        apply: shards → a row for each when it is done; one with a `problem` ends the job.
        folder_uri: where it writes.
        progress: is told how far it is.

    Raises:
        UserError: the problem.
    """
    todo = unfinished(manifest, folder_uri)
    done = manifest.num_shards - todo.num_shards
    progress(step, done, manifest.num_shards)
    if not todo.num_shards:
        return
    for row in apply(todo).iter_rows():
        if problem := row.get("problem"):
            raise UserError(problem)
        done += 1
        progress(step, done, manifest.num_shards)


def unfinished(manifest: Manifest, folder_uri: str) -> Manifest:
    """The shards that have no file in the folder yet."""
    done = storage.list_names(folder_uri)
    names = [storage.shard_file("", shard).lstrip("/") for shard in manifest.table["shard"].to_pylist()]
    return Manifest(manifest.table.filter(pa.array([name not in done for name in names], pa.bool_())))


def funnel_metadata(funnel: Funnel) -> dict[str, str]:
    """The funnel of a shard as metadata of its file."""
    return {_FUNNEL: funnel.to_json()}


def read_funnel(folder_uri: str, shard: int) -> Funnel:
    """What the step that wrote the folder dropped of a shard."""
    with SteadyFile(*storage.resolve(storage.shard_file(folder_uri, shard))) as file:
        return Funnel.from_json(pq.read_metadata(file).metadata[_FUNNEL.encode()].decode())
