"""Checkpoints that Ray Train has registered, and those that a process wrote before it died: these are removed.

Ray Train resumes from what its own snapshot names, so an unregistered checkpoint is never trusted; it would only take
room, as much as a model and its optimiser do.
"""

from __future__ import annotations

import pyarrow.fs as pafs

from pipelines import storage

_SNAPSHOT = "checkpoint_manager_snapshot.json"
_PREFIX = "checkpoint_"


def remove_unregistered(run_uri: str) -> list[str]:
    """Remove the folders of checkpoints that no snapshot names, while nobody writes any; their names."""
    filesystem, path = storage.resolve(run_uri)
    infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    names = {info.base_name for info in infos if not info.is_file and info.base_name.startswith(_PREFIX)}
    unregistered = sorted(names - _registered(run_uri)) if names else []
    for name in unregistered:
        filesystem.delete_dir(f"{path}/{name}")
    return unregistered


def _registered(run_uri: str) -> set[str]:
    try:
        snapshot = storage.read_json(storage.join(run_uri, _SNAPSHOT))
    except FileNotFoundError:
        return set()
    known = [*snapshot["checkpoint_results"], *snapshot["pending_training_results"]]
    if snapshot["latest_checkpoint_result"] is not None:
        known.append(snapshot["latest_checkpoint_result"])
    return {result["checkpoint_dir_name"] for result in known}
