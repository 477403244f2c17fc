"""Holding what fits: values by key, loaded when asked for; the least recently used leave when a byte budget is full.

Several threads may use the same values. One in use never leaves: whoever needs its room waits. A user holds one value
at a time, so nobody waits for ever.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What takes memory."""

    @property
    def num_bytes(self) -> int:
        """How much."""
        ...


Value = TypeVar("Value", bound=Sized)


class Residents(Generic[Value]):
    """Values of at most `budget_bytes` in all (None: as many as asked for)."""

    def __init__(
        self, load: Callable[[str], Value], *, expected_bytes: Callable[[str], int], budget_bytes: int | None
    ) -> None:
        """Nothing is loaded yet.

        Args:
            load: makes the value of a key. While it works, what it makes comes on top of the budget.
            expected_bytes: about what the value of a key will take, so that room is made first; 0 where unknown.
            budget_bytes: None for no limit.
        """
        self._load = load
        self._expected_bytes = expected_bytes
        self._budget_bytes = budget_bytes
        self._held: OrderedDict[str, Value] = OrderedDict()  # the least recently used first
        self._users: Counter[str] = Counter()
        self._changed = threading.Condition()
        self.num_bytes = 0
        self.loads: Counter[str] = Counter()  # how often each key was loaded

    @property
    def num_reloads(self) -> int:
        """How often a value was loaded that had been held before."""
        return self.loads.total() - len(self.loads)

    def __contains__(self, key: str) -> bool:
        return key in self._held

    @contextmanager
    def using(self, key: str) -> Iterator[Value]:
        """The value of `key`, which stays while it is used.

        Raises:
            ValueError: the value alone is more than the budget.
        """
        with self._changed:
            value = self._get(key)
            self._users[key] += 1
        try:
            yield value
        finally:
            with self._changed:
                self._users[key] -= 1
                self._changed.notify_all()

    def _get(self, key: str) -> Value:
        if key not in self._held:
            self._make_room(key, self._expected_bytes(key))
        if key not in self._held:  # another thread may have loaded it while this one waited for room
            value = self._load(key)
            self.loads[key] += 1
            self._make_room(key, value.num_bytes)
            if key not in self._held:
                self._held[key] = value
                self.num_bytes += value.num_bytes
        self._held.move_to_end(key)
        return self._held[key]

    def _make_room(self, key: str, num_bytes: int) -> None:
        if self._budget_bytes is None:
            return
        if num_bytes > self._budget_bytes:
            raise ValueError(f"{key} takes {num_bytes:,} bytes, more than the budget of {self._budget_bytes:,}")
        while self.num_bytes + num_bytes > self._budget_bytes:
            unused = next((held for held in self._held if not self._users[held]), None)
            if unused is None:
                self._changed.wait()
            else:
                self.num_bytes -= self._held.pop(unused).num_bytes
