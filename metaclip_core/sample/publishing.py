"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib

import pyarrow.fs as pafs


def publish(filesystem: pafs.FileSystem, path: str, data: bytes) -> str:
    """Write `data` at `path` and return its SHA-256, in hex digits.

    On a local disk it is written beside and moved into place. Object stores show an object once it is complete; there
    it is written plainly.
    """
    if _is_local(filesystem):
        filesystem.create_dir(path.rpartition("/")[0], recursive=True)
        aside = f"{path}.partial"
        _write(filesystem, aside, data)
        filesystem.move(aside, path)
    else:
        _write(filesystem, path, data)
    return hashlib.sha256(data).hexdigest()


def _write(filesystem: pafs.FileSystem, path: str, data: bytes) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(data)


def _is_local(filesystem: pafs.FileSystem) -> bool:
    while isinstance(filesystem, pafs.SubTreeFileSystem):
        filesystem = filesystem.base_fs
    return isinstance(filesystem, pafs.LocalFileSystem)
