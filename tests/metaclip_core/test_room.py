"""Room, against an adversary who places pieces in any order on any node."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.room import Node, Piece, fits, jobs_at_once

nodes_of = st.lists(st.builds(Node, st.integers(0, 9), st.integers(0, 3), st.booleans()), min_size=1, max_size=4)
pieces_of = st.lists(
    st.builds(Piece, st.integers(0, 5), st.sampled_from([0.5, 1, 2, 3]), st.sampled_from([0, 0, 1]), st.booleans()),
    min_size=1,
    max_size=3,
)


def place(nodes, pieces, chance):
    """Whether all pieces found a place, in a random order on random nodes: what a scheduler does on a bad day."""
    free = [[node.cpus, node.gpus, node.labelled] for node in nodes]
    waiting = [piece for piece in pieces for _ in range(piece.count)]
    chance.shuffle(waiting)
    for piece in waiting:
        able = [
            node for node in free if node[0] >= piece.cpus and node[1] >= piece.gpus and (node[2] or not piece.labelled)
        ]
        if not able:
            return False
        node = chance.choice(able)
        node[0] -= piece.cpus
        node[1] -= piece.gpus
    return True


@settings(max_examples=400)
@given(nodes_of, pieces_of, st.integers(0, 1000))
def test_what_fits_is_never_stuck_whatever_the_order(nodes, pieces, seed):
    if fits(nodes, pieces):
        chance = random.Random(seed)  # noqa: S311 - a bad day is no secret
        assert all(place(nodes, pieces, chance) for _ in range(30))


@given(nodes_of, st.integers(1, 12))
def test_pieces_of_one_cpu_fit_where_their_sum_does(nodes, count):
    assert fits(nodes, [Piece(count, 1)]) == (count <= sum(node.cpus for node in nodes))


@given(nodes_of, pieces_of, st.integers(1, 5))
def test_jobs_at_once_is_the_largest_number_that_fits(nodes, job, most):
    number = jobs_at_once(nodes, job, most=most)
    times = lambda k: [Piece(k * one.count, one.cpus, one.gpus, one.labelled) for one in job]  # noqa: E731 - short
    assert number == max((k for k in range(1, most + 1) if fits(nodes, times(k))), default=0)


def test_sum_that_suffices_can_still_be_stuck():
    nodes = [Node(4), Node(4)]
    job = [Piece(2, 3), Piece(2, 1)]  # 8 of 8 CPUs: two small ones on one node leave no room for a large one there
    assert not fits(nodes, job)
    assert fits([Node(4), Node(4), Node(4)], job)


@pytest.mark.parametrize(("cpus", "trials"), [(2.9, 0), (3, 1), (5, 1), (6, 2), (9, 3)])
def test_trials_of_a_worker_and_two_cpus_for_data(cpus, trials):
    assert jobs_at_once([Node(cpus)], [Piece(1, 1), Piece(2, 1)], most=8) == trials


def test_data_that_must_stand_on_labelled_nodes_has_no_room_elsewhere():
    job = [Piece(1, 4, gpus=1), Piece(2, 1, labelled=True)]
    gpu_node = Node(32, gpus=8, labelled=False)
    assert jobs_at_once([gpu_node], job, most=8) == 0
    assert jobs_at_once([gpu_node, Node(8)], job, most=8) == 4
    assert jobs_at_once([gpu_node, Node(64)], job, most=99) == 8


def test_data_may_take_the_cpus_beside_gpus():
    job = [Piece(1, 4, gpus=1), Piece(4, 1)]
    assert jobs_at_once([Node(16, gpus=4)], job, most=8) == 2
