"""Near-duplicates of a pool: which images go, and which earlier one stays for each.

Images are judged in the pool's order. One goes if it is near an image that stayed, and the first such is its keeper; so
whatever goes is near its keeper, and no two that stay are near each other. Being near is no equivalence: in a chain
A ~ B ~ C with A and C apart, A and C stay. Joining all that hang together would lose C, and in a large pool, where
chains are long, much that looks like nothing that stayed.

Exact copies go first: what shares a digest shares all keys, so the first of them stands for all in each comparison.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from metaclip_core.neighbours import Ints, Looks, UInt64s, are_near

EDGES = pa.schema([("earlier", pa.int64()), ("later", pa.int64()), ("is_copy", pa.bool_())])

_MAX_BUCKET = 1_024  # forms with one key that are all compared with each other
_PAIRS_AT_ONCE = 1 << 18


@dataclass(frozen=True)
class Edges:
    """Pairs of images that are near, or copies of each other, by number."""

    table: pa.Table  # of EDGES, in any order, distinct
    num_unjudged: int  # forms that were compared with those alone that stay of the first `_MAX_BUCKET` with their key


def find_edges(looks: Looks, keys: UInt64s, rows: Ints, *, distance: int, max_bucket: int = _MAX_BUCKET) -> Edges:
    """The near pairs among the rows that share a key. Pure; all rows of a key must be given together.

    Args:
        looks: forms.
        keys: of the rows below.
        rows: of `looks`, as many.
        distance: in bits.
        max_bucket: of more rows with a key, the first ones are compared with each other, and each further row with
            those of them that stay.
    """
    order = np.lexsort((looks.image[rows], keys))
    keys, rows = keys[order], rows[order]
    copies, first = _copies(looks, keys, rows)
    keys, rows = keys[first], rows[first]
    starts = np.flatnonzero(np.diff(keys, prepend=keys[:1] + np.uint64(1)))
    sizes = np.diff(np.append(starts, len(keys)))
    position = np.arange(len(keys)) - np.repeat(starts, sizes)
    heads = np.repeat(np.minimum(sizes, max_bucket), sizes)
    found = [_near_pairs(looks, rows, position, heads, distance=distance)]
    large = sizes > max_bucket
    for start, size in zip(starts[large].tolist(), sizes[large].tolist(), strict=True):
        members = rows[start : start + size]
        leaders = _staying(looks, members[:max_bucket], found[0])
        found += [_with_leader(looks, leader, members[max_bucket:], distance=distance) for leader in leaders]
    return Edges(_table(np.concatenate(found), copies), int((sizes[large] - max_bucket).sum()))


def _copies(looks: Looks, keys: UInt64s, rows: Ints) -> tuple[Ints, Ints]:
    """Pairs (first, copy) of images with one digest, and which of the rows are no copies; rows sorted by key, image."""
    digests = looks.digest[rows]
    order = np.lexsort((np.arange(len(rows)), digests[:, 1], digests[:, 0], keys))
    same = np.zeros(len(rows), bool)
    same[1:] = (keys[order[1:]] == keys[order[:-1]]) & (digests[order[1:]] == digests[order[:-1]]).all(axis=1)
    heads = np.maximum.accumulate(np.where(same, 0, np.arange(len(rows))))
    images = looks.image[rows[order]]
    pairs = np.stack([images[heads], images], axis=1)
    is_copy = pairs[:, 0] != pairs[:, 1]
    return np.unique(pairs[is_copy], axis=0), np.sort(order[~is_copy])


def _near_pairs(looks: Looks, rows: Ints, position: Ints, heads: Ints, *, distance: int) -> Ints:
    """Pairs of images among the heads of each bucket: each with the next, then with the one after it, and so on."""
    found = [np.empty((0, 2), np.int64)]
    lag = 1
    alive = np.flatnonzero(position + lag < heads)
    while len(alive):
        for start in range(0, len(alive), _PAIRS_AT_ONCE):
            left = alive[start : start + _PAIRS_AT_ONCE]
            found.append(_verified(looks, rows[left], rows[left + lag], distance=distance))
        lag += 1
        alive = alive[position[alive] + lag < heads[alive]]
    return np.unique(np.concatenate(found), axis=0)


def _with_leader(looks: Looks, leader: int, members: Ints, *, distance: int) -> Ints:
    return _verified(looks, np.full(len(members), leader), members, distance=distance)


def _verified(looks: Looks, left: Ints, right: Ints, *, distance: int) -> Ints:
    """The pairs of images of those pairs of rows that are near; no image is near itself."""
    different = looks.image[left] != looks.image[right]
    left, right = left[different], right[different]
    near = are_near(looks.take(left), looks.take(right), distance=distance)
    return np.stack([looks.image[left[near]], looks.image[right[near]]], axis=1)


def _staying(looks: Looks, members: Ints, pairs: Ints) -> list[int]:
    images = looks.image[members]
    inside = np.isin(pairs, images).all(axis=1)
    gone, _ = _judge(pairs[inside, 0], pairs[inside, 1])
    return [int(row) for row in members[~np.isin(images, gone)]]


def _table(near: Ints, copies: Ints) -> pa.Table:
    near = np.unique(near, axis=0)
    both = np.concatenate([near, copies])
    is_copy = np.repeat([False, True], [len(near), len(copies)])
    return pa.table([both[:, 0], both[:, 1], is_copy], schema=EDGES)


def resolve(edges: pa.Table) -> tuple[Ints, Ints]:
    """The images that go, ascending, and the keeper of each.

    Args:
        edges: EDGES of the whole pool, in any order; an edge may be there several times.
    """
    is_copy = edges["is_copy"].to_numpy()
    earlier, later = edges["earlier"].to_numpy(), edges["later"].to_numpy()
    copies, index = np.unique(later[is_copy], return_index=True)
    originals = earlier[is_copy][index]
    gone, keepers = _judge(earlier[~is_copy], later[~is_copy])
    places = np.searchsorted(gone, originals)
    has_gone = np.zeros(len(originals), bool)
    inside = places < len(gone)
    has_gone[inside] = gone[places[inside]] == originals[inside]
    kept_by = originals.copy()
    kept_by[has_gone] = keepers[places[has_gone]]
    images = np.concatenate([gone, copies])
    order = np.argsort(images)
    return images[order], np.concatenate([keepers, kept_by])[order]


def _judge(earlier: Ints, later: Ints) -> tuple[Ints, Ints]:
    """`resolve` without copies. In rounds: what no earlier one is left for stays, and what is near it goes."""
    rounds = [np.empty(0, np.int64)]
    pending = np.stack([earlier, later])
    while pending.size:
        stays = ~np.isin(pending[0], pending[1])
        rounds.append(np.unique(pending[1, stays]))
        pending = pending[:, ~np.isin(pending, rounds[-1]).any(axis=0)]
    gone = np.sort(np.concatenate(rounds))
    by_kept = ~np.isin(earlier, gone)
    earlier, later = earlier[by_kept], later[by_kept]
    order = np.lexsort((earlier, later))
    _, first = np.unique(later[order], return_index=True)
    return gone, earlier[order][first]
