"""Room on a cluster: how many equal jobs can run at once such that none can ever wait for another's resources.

A job asks for pieces (workers, actors, tasks), each of which needs its CPUs and GPUs on one node, and whoever places
them chooses nodes in any order. A sum over the cluster is not enough: pieces of one CPU, spread over all nodes, can
leave no node with the four that a worker needs. `fits` holds for the worst order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_UNITS = 10_000  # of a CPU: the finest share that Ray knows


@dataclass(frozen=True)
class Node:
    """What a machine has; `labelled`: whether it carries the data."""

    cpus: float
    gpus: float = 0.0
    labelled: bool = True


@dataclass(frozen=True)
class Piece:
    """So many of a kind, each of which stands on one node; `labelled`: on those that carry the data alone."""

    count: int
    cpus: float
    gpus: float = 0.0
    labelled: bool = False


def jobs_at_once(nodes: Sequence[Node], job: Sequence[Piece], *, most: int, beside: Sequence[Piece] = ()) -> int:
    """The largest number of equal jobs, up to `most`, that `fits` with what runs beside them; 0: not even one does."""
    number = 0
    while number < most and fits(nodes, [*_times(number + 1, job), *beside]):
        number += 1
    return number


def _times(number: int, job: Sequence[Piece]) -> list[Piece]:
    return [Piece(number * one.count, one.cpus, one.gpus, labelled=one.labelled) for one in job]


def fits(nodes: Sequence[Node], pieces: Sequence[Piece]) -> bool:
    """Whether every piece finds its place, whatever the order and the nodes that the others take before."""
    asked = [piece for piece in pieces if piece.count]
    grain = math.gcd(*(_units(piece.cpus) for piece in asked)) or 1
    return all(
        _free_slots(nodes, piece, [other for other in asked if other is not piece], grain=grain) >= piece.count
        for piece in asked
    )


def _free_slots(nodes: Sequence[Node], piece: Piece, others: Sequence[Piece], *, grain: int) -> int:
    """The places for `piece` that the others can't take away."""
    mine = [node for node in nodes if _may_stand(piece, node)]
    slots = [_slots(piece, node) for node in mine]
    rivals = [other for other in others if any(_may_stand(other, node) for node in mine)]
    cpus = sum(other.count * _units(other.cpus) for other in rivals)
    costs: list[int] = []  # in CPUs of rivals, of taking each slot; a node's first one costs its slack too
    for node, number in zip(mine, slots, strict=True):
        if number and piece.cpus:
            slack = _units(node.cpus) - number * _units(piece.cpus)
            costs += [slack // grain * grain + grain, *[_units(piece.cpus)] * (number - 1)]
    lost_to_gpus = math.ceil(sum(other.count * other.gpus for other in rivals) / piece.gpus) if piece.gpus else 0
    for taken, cost in enumerate(sorted(costs)):
        cpus -= cost
        if cpus < 0:
            return sum(slots) - taken - lost_to_gpus
    return sum(slots) - len(costs) - lost_to_gpus


def _may_stand(piece: Piece, node: Node) -> bool:
    return _slots(piece, node) > 0


def _slots(piece: Piece, node: Node) -> int:
    """How many of a piece an empty node holds."""
    if piece.labelled and not node.labelled:
        return 0
    by_cpu = _units(node.cpus) // _units(piece.cpus) if piece.cpus else piece.count
    by_gpu = int(node.gpus / piece.gpus) if piece.gpus else by_cpu
    return min(by_cpu, by_gpu)


def _units(cpus: float) -> int:
    return round(cpus * _UNITS)
