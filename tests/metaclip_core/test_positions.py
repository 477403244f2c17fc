import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.positions import Positions

small_pools = st.integers(1, 70)  # over all sizes about the powers of 4, where the permutation's domain grows
seeds = st.integers(-(2**70), 2**70)


@settings(deadline=None)
@given(small_pools, seeds, st.integers(0, 1000))
def test_positions_of_one_epoch_visit_every_shard_exactly_once(num_shards, seed, epoch):
    positions = epoch * num_shards + np.arange(num_shards)
    epochs, shards = Positions(num_shards, seed).locate(positions)
    assert set(epochs.tolist()) == {epoch}
    assert sorted(shards.tolist()) == list(range(num_shards))


@settings(deadline=None)
@given(small_pools, seeds, st.lists(st.integers(0, 10**6), max_size=50))
def test_position_of_any_located_position_is_that_position(num_shards, seed, positions):
    order = Positions(num_shards, seed)
    assert order.position(*order.locate(positions)).tolist() == positions


@settings(deadline=None)
@given(small_pools, seeds, st.lists(st.integers(0, 10**5), min_size=1, max_size=30))
def test_locate_of_many_positions_equals_locating_each_alone(num_shards, seed, positions):
    order = Positions(num_shards, seed)
    epochs, shards = order.locate(positions)
    alone = [order.locate([position]) for position in positions]
    assert epochs.tolist() == [int(epoch[0]) for epoch, _ in alone]
    assert shards.tolist() == [int(shard[0]) for _, shard in alone]


@pytest.mark.parametrize("num_shards", [2**16 - 1, 2**16, 2**16 + 1, 400_000])
def test_positions_of_a_large_pool_are_a_permutation_that_inverts(num_shards):
    order = Positions(num_shards, seed=3)
    epochs, shards = order.locate(5 * num_shards + np.arange(num_shards))
    assert np.array_equal(np.sort(shards), np.arange(num_shards))
    assert np.array_equal(order.position(epochs, shards), 5 * num_shards + np.arange(num_shards))


def test_positions_of_another_epoch_or_seed_are_in_another_order():
    def first_epochs_shards(seed, epoch):
        return tuple(Positions(1000, seed).locate(epoch * 1000 + np.arange(1000))[1].tolist())

    orders = {first_epochs_shards(seed, epoch) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    assert tuple(range(1000)) not in orders


def test_order_of_shards_is_uniform_over_many_epochs():
    num_shards, num_epochs = 8, 1000
    epochs, shards = Positions(num_shards, seed=1).locate(np.arange(num_shards * num_epochs))
    seen = np.zeros((num_shards, num_shards), np.int64)  # place in the epoch × shard
    np.add.at(seen, (np.arange(len(shards)) % num_shards, shards), 1)
    expected = num_epochs / num_shards
    chi_squared = ((seen - expected) ** 2 / expected).sum()
    degrees = (num_shards - 1) ** 2
    assert len(np.unique(epochs)) == num_epochs
    assert chi_squared < degrees + 5 * (2 * degrees) ** 0.5


def test_locate_of_known_positions_never_changes():
    epochs, shards = Positions(10, seed=0).locate(np.arange(20))
    assert epochs.tolist() == [0] * 10 + [1] * 10
    assert shards[:10].tolist() == [5, 4, 1, 7, 2, 0, 8, 3, 9, 6]
    assert shards[10:].tolist() == [3, 6, 5, 4, 9, 7, 2, 8, 1, 0]


def test_position_of_broadcast_shards_belongs_to_the_one_epoch():
    order = Positions(7, seed=2)
    assert sorted(order.position(3, np.arange(7)).tolist()) == list(range(21, 28))


@pytest.mark.parametrize("shard", [-1, 7, 8])
def test_position_of_a_shard_outside_the_pool_is_refused(shard):
    with pytest.raises(ValueError, match="0 … 6"):
        Positions(7, seed=2).position([0], [shard])


@pytest.mark.parametrize("num_shards", [0, -1])
def test_order_of_an_empty_pool_is_refused(num_shards):
    with pytest.raises(ValueError, match="at least one"):
        Positions(num_shards, seed=0)


def test_locate_of_no_positions_is_empty():
    epochs, shards = Positions(7, seed=2).locate([])
    assert epochs.tolist() == shards.tolist() == Positions(7, seed=2).position([], []).tolist() == []
