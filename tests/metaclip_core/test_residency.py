import threading
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.residency import Residents


@dataclass
class Block:
    key: str
    num_bytes: int


def residents(sizes, *, budget=None, expected=None):
    return Residents(
        lambda key: Block(key, sizes[key]), expected_bytes=lambda key: (expected or {}).get(key, 0), budget_bytes=budget
    )


def touch(held, keys):
    for key in keys:
        with held.using(key) as block:
            assert block.key == key


def test_residents_without_a_budget_load_each_key_once():
    held = residents({"a": 5, "b": 7})
    touch(held, "abab")
    assert held.loads == Counter("ab")
    assert held.num_bytes == 12
    assert held.num_reloads == 0


def test_residents_let_the_least_recently_used_go():
    held = residents({"a": 4, "b": 4, "c": 4}, budget=8)
    touch(held, "abac")
    assert [key in held for key in "abc"] == [True, False, True]


@given(st.lists(st.sampled_from("abcdef"), max_size=40), st.integers(6, 21), st.booleans())
def test_residents_never_hold_more_than_the_budget(keys, budget, foreseen):
    sizes = {key: size for size, key in enumerate("abcdef", start=1)}
    held = residents(sizes, budget=budget, expected=sizes if foreseen else None)
    for key in keys:
        touch(held, key)
        assert held.num_bytes == sum(size for name, size in sizes.items() if name in held)
        assert held.num_bytes <= budget
    assert held.num_reloads == held.loads.total() - len(set(keys))


@pytest.mark.parametrize("expected", [None, {"big": 9}])
def test_residents_refuse_what_is_larger_than_the_budget_and_stay_usable(expected):
    held = residents({"big": 9, "a": 4}, budget=8, expected=expected)
    touch(held, "a")
    with pytest.raises(ValueError, match="big takes 9 bytes, more than the budget of 8"), held.using("big"):
        pass
    touch(held, "a")


def test_residents_in_use_stay_and_whoever_needs_room_waits():
    held = residents({"a": 5, "b": 5}, budget=8)
    got_b = threading.Event()

    def use_b():
        with held.using("b"):
            got_b.set()

    with held.using("a"):
        other = threading.Thread(target=use_b)
        other.start()
        assert not got_b.wait(0.2)
        assert "a" in held
    other.join(10)
    assert got_b.is_set()
    assert "a" not in held


def test_residents_shared_by_threads_load_once_and_keep_to_the_budget():
    sizes = {str(key): 3 for key in range(8)}
    held = residents(sizes, budget=13)
    too_much = []

    def use(start):
        for step in range(300):
            with held.using(str((start * 5 + step * step) % 8)):
                if held.num_bytes > 13:
                    too_much.append(held.num_bytes)

    threads = [threading.Thread(target=use, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert too_much == []


def test_residents_whose_load_fails_raise_and_load_again():
    attempts = []

    def load(key):
        attempts.append(key)
        if len(attempts) == 1:
            raise OSError("gone")
        return Block(key, 1)

    held = Residents(load, expected_bytes=lambda _: 0, budget_bytes=5)
    with pytest.raises(OSError, match="gone"), held.using("a"):
        pass
    touch(held, "a")
    assert attempts == ["a", "a"]
