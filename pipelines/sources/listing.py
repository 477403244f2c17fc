"""The shards of a pool: its files by suffix and name."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.fs as pafs

from pipelines import storage
from pipelines.errors import UserError


def list_files(uri: str, *, suffixes: tuple[str, ...]) -> pa.Table:
    """Name (relative to the folder), size and identity of each file below `uri`, at any depth.

    Raises:
        UserError: no such folder, a store that does not answer, or no such files.
    """
    filesystem, path = storage.resolve(uri)
    try:
        infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    except FileNotFoundError as error:
        raise UserError(f"no such pool: {uri}") from error
    except OSError as error:
        raise UserError(f"the pool {uri} cannot be listed: {storage.first_line(error)}") from error
    files = sorted(
        (info for info in infos if info.is_file and info.path.endswith(suffixes)), key=lambda info: info.path
    )
    if not files:
        raise UserError(f"the pool {uri} is empty: it holds no {suffixes[0]} file")
    return pa.table(
        {
            "name": [info.path[len(path) :].lstrip("/") for info in files],
            "size": pa.array([info.size for info in files], pa.int64()),
            "identity": [f"{info.size}-{info.mtime_ns}" for info in files],
        }
    )
