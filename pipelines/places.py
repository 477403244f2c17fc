"""The places of a run's workers on the cluster, given back when the run's own process dies.

Ray keeps a placement group until its job ends, and a sweep is one job of many runs. Ray Train's own cleaner needs the
dashboard, which a cluster of one machine has not.
"""

from __future__ import annotations

import ray
from ray.util.placement_group import PlacementGroup, get_current_placement_group, remove_placement_group

from pipelines import storage

_PLACES = "places.json"


def note_places(run_uri: str) -> None:
    """Note where a group of workers stands; one of its workers calls it."""
    group = get_current_placement_group()
    if group is not None:
        storage.write_json(storage.join(run_uri, _PLACES), {"placement_group": group.id.hex()})


def release_places(run_uri: str) -> None:
    """Give back the places of a run that is to start, if a process that ran it before has died holding them."""
    try:
        noted = storage.read_json(storage.join(run_uri, _PLACES))["placement_group"]
    except FileNotFoundError:
        return
    if noted in ray.util.placement_group_table():  # of this cluster
        remove_placement_group(PlacementGroup(ray.PlacementGroupID.from_hex(noted)))
