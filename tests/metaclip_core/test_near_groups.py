"""Near-duplicates against a comparison of all with all, image after image."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.near_groups import EDGES, find_edges, resolve
from metaclip_core.near_index import LookIndex
from metaclip_core.neighbours import NUM_BANDS, Looks, are_near, hash_distance, keys, near_in_structure

DISTANCE = 20
SEEDS = st.integers(0, 2**32 - 1)


def made(image, hashes, *, colours=100, contrast=100, aspect=0.0, digests=None):
    """Looks with these hashes (bool[n, 256])."""
    n = len(image)
    rng = np.random.default_rng(n)
    return Looks(
        np.asarray(image, np.int64),
        rng.integers(0, 2**63, (n, 2)).astype(np.uint64) if digests is None else np.asarray(digests, np.uint64),
        np.packbits(np.asarray(hashes, bool), axis=1).view(np.uint64),
        np.broadcast_to(np.asarray(colours, np.int16).reshape(-1, 1) if np.ndim(colours) == 1 else colours, (n, 48)),
        np.broadcast_to(np.asarray(contrast, np.uint8), n),
        np.broadcast_to(np.asarray(aspect, np.float32), n),
    )


def families(seed, *, num_families=5, copies=6, max_flips=20):
    """Looks in which families drift apart: chains, forms of one image, smooth pictures and exact copies among them."""
    rng = np.random.default_rng(seed)
    rows = []
    for family in range(num_families):
        bits, tint = rng.random(256) < 0.5, rng.integers(0, 256, 48)
        smooth = rng.random() < 0.4
        for copy in range(copies):
            bits = bits ^ (rng.permutation(256) < rng.integers(max_flips))
            tint = np.clip(tint + rng.integers(-2, 3, 48), 0, 255)
            aspect = 0.03 * rng.integers(-1, 2)
            row = (bits, tint, rng.integers(20) if smooth else 100, aspect, [family, copy])
            rows.append(rows[-1] if rows and rng.random() < 0.2 else row)
    hashes, colours, contrast, aspects, digests = (list(column) for column in zip(*rows, strict=True))
    order = rng.permutation(len(rows))
    image = np.arange(len(rows))
    image[order[:3]] = len(rows)  # three forms of one image, unlike each other or not
    for row in order[:3]:
        digests[row] = [99, 99]
    looks = made(image, hashes, colours=np.array(colours), contrast=contrast, aspect=aspects, digests=digests)
    return looks.take(order)


def keys_of(looks):
    """The keys of each row."""
    own = [set() for _ in range(len(looks))]
    for values, rows in keys(looks):
        for value, row in zip(values.tolist(), rows.tolist(), strict=True):
            own[row].add(value)
    return own


def relation(looks):
    """bool [n, n] of images: near by the definition."""
    num_images = int(looks.image.max()) + 1
    near = np.zeros((num_images, num_images), bool)
    own = keys_of(looks)
    for a in range(len(looks)):
        row = np.full(len(looks), a)
        shared = np.array([bool(own[a] & others) for others in own])
        found = shared & are_near(looks.take(row), looks, distance=DISTANCE)
        near[looks.image[a], looks.image[found]] = True
    return near


def judged_in_order(near):
    """{image that goes: keeper}: one after the other, each compared with all that stayed."""
    keepers, stayed = {}, []
    for image in range(len(near)):
        keeper = next((other for other in stayed if near[other, image]), None)
        if keeper is None:
            stayed.append(image)
        else:
            keepers[image] = keeper
    return keepers


def all_edges(looks, **options):
    tables = [find_edges(looks, *found, distance=DISTANCE, **options).table for found in keys(looks)]
    return pa.concat_tables([EDGES.empty_table(), *tables])


def resolved(edges):
    gone, keepers = resolve(edges)
    assert (np.diff(gone) > 0).all()
    return dict(zip(gone.tolist(), keepers.tolist(), strict=True))


@settings(max_examples=25)
@given(seed=SEEDS)
def test_near_duplicates_are_those_of_a_comparison_of_all_with_all(seed):
    looks = families(seed)
    assert resolved(all_edges(looks)) == judged_in_order(relation(looks))


@settings(max_examples=25)
@given(seed=SEEDS)
def test_near_duplicates_are_the_same_however_keys_are_parted(seed):
    looks = families(seed)
    rng = np.random.default_rng(seed)
    found = list(keys(looks))
    values, rows = (np.concatenate(column) for column in zip(*found, strict=True))
    part = np.random.default_rng(0).integers(0, 3, 2**16)[values % 2**16]  # a key lies in one part
    order = rng.permutation(len(values))
    tables = []
    for number in range(3):
        mine = order[part[order] == number]
        tables.append(find_edges(looks, values[mine], rows[mine], distance=DISTANCE).table)
    assert resolved(pa.concat_tables(tables)) == resolved(all_edges(looks))


@settings(max_examples=25)
@given(seed=SEEDS, max_bucket=st.integers(1, 8))
def test_a_bucket_over_its_limit_loses_pairs_and_never_makes_one_up(seed, max_bucket):
    looks = families(seed, num_families=2, copies=12, max_flips=4)
    near = relation(looks)
    edges = all_edges(looks, max_bucket=max_bucket)
    for edge in edges.to_pylist():
        assert edge["earlier"] < edge["later"]
        assert near[edge["earlier"], edge["later"]] or edge["is_copy"]
    gone = resolved(edges)
    assert gone.keys() <= set(range(len(near)))
    assert all(keeper not in gone for keeper in gone.values())


def test_a_meme_in_a_full_bucket_leaves_one_copy_and_counts_what_was_not_compared():
    rng = np.random.default_rng(0)
    base = rng.random(256) < 0.5
    hashes = np.stack([base ^ (rng.permutation(256) < 2) for _ in range(500)])
    looks = made(np.arange(500), hashes)
    found = [find_edges(looks, *of_kind, distance=DISTANCE, max_bucket=10) for of_kind in keys(looks)]
    gone = resolved(pa.concat_tables([edges.table for edges in found]))
    assert gone == dict.fromkeys(range(1, 500), 0)
    assert sum(edges.num_unjudged for edges in found) > 2_000
    assert sum(edges.table.num_rows for edges in found) < 2 * 500 * NUM_BANDS  # and not 500²


def test_exact_copies_go_whatever_their_bucket_holds():
    rng = np.random.default_rng(0)
    hashes = np.repeat(rng.random((1, 256)) < 0.5, 60, axis=0)
    colours = np.repeat(np.arange(30) * 20 % 240, 2)  # apart by their colours
    digests = np.repeat(np.arange(30), 2)[:, None] * [1, 1]
    looks = made(np.arange(60), hashes, colours=colours, digests=digests)
    gone = resolved(all_edges(looks, max_bucket=2))
    assert all(gone[image] < image for image in range(1, 60, 2))


def test_in_a_chain_the_far_end_stays():
    base = np.random.default_rng(0).random(256) < 0.5
    flipped = (np.arange(256) < 36) & (np.arange(256) % NUM_BANDS < NUM_BANDS // 2)  # 18 bits of half of the bands
    chain = [base, base ^ flipped, base ^ flipped ^ np.roll(flipped, 4 * NUM_BANDS)]
    assert resolved(all_edges(made([0, 1, 2], chain))) == {1: 0}
    assert resolved(all_edges(made([1, 0, 2], chain))) == {1: 0, 2: 0}  # the middle comes first


@given(seed=SEEDS, flips=st.integers(0, NUM_BANDS - 1))
def test_hashes_that_differ_in_fewer_bits_than_there_are_bands_share_a_key(seed, flips):
    rng = np.random.default_rng(seed)
    base = rng.random(256) < 0.5
    looks = made([0, 1], [base, base ^ (rng.permutation(256) < flips)])
    assert any(values[0] == values[1] for values, rows in keys(looks) if len(rows))


@given(seed=SEEDS)
def test_smooth_pictures_that_are_near_share_a_key(seed):
    rng = np.random.default_rng(seed)
    tint = rng.integers(0, 256, 48)
    other = np.clip(tint + rng.integers(-6, 7, 48), 0, 255)
    looks = made([0, 1], rng.random((2, 256)) < 0.5, colours=np.stack([tint, other]), contrast=3)
    near = are_near(looks.take(np.array([0])), looks.take(np.array([1])), distance=DISTANCE)[0]
    assert not near or any(values[0] == values[1] for values, rows in keys(looks) if len(rows))


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ({}, True),
        ({"colours": [100, 112]}, True),
        ({"colours": [100, 113]}, False),
        ({"aspect": [0.0, 0.06]}, True),
        ({"aspect": [0.0, 0.08]}, False),
        ({"contrast": [100, 8]}, False),
    ],
)
def test_equal_hashes_are_near_if_colours_aspect_and_contrast_agree(change, near):
    base = np.random.default_rng(0).random(256) < 0.5
    assert resolved(all_edges(made([0, 1], [base, base], **change))) == ({1: 0} if near else {})


@given(seed=SEEDS)
def test_nearest_of_an_index_is_that_of_a_comparison_with_all(seed):
    looks = families(seed)
    half = len(looks) // 2
    queries, index = looks.take(np.arange(half)), looks.take(np.arange(half, len(looks)))
    expected = {}
    ours, theirs = keys_of(queries), keys_of(index)
    for a, image in enumerate(queries.image.tolist()):
        row = queries.take(np.full(len(index), a))
        near = are_near(row, index, distance=DISTANCE) & [bool(ours[a] & others) for others in theirs]
        in_structure = near_in_structure(row, index, distance=DISTANCE)
        bits = np.where(in_structure, hash_distance(row, index), 1_000)
        for b in np.flatnonzero(near).tolist():
            expected[image] = min(expected.get(image, (bits[b], b)), (bits[b], b))
    found = LookIndex(index).nearest(queries, distance=DISTANCE)
    ranks = found.distance.filled(1_000).tolist()
    assert dict(zip(found.image.tolist(), zip(ranks, found.row.tolist(), strict=True), strict=True)) == expected


def test_nothing_is_near_nothing():
    empty = made(np.empty(0), np.empty((0, 256)))
    assert all_edges(empty).num_rows == 0
    assert resolved(EDGES.empty_table()) == {}
    assert len(LookIndex(empty).nearest(empty, distance=DISTANCE).image) == 0
