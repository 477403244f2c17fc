"""The engines by name. The README says how they compare."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from metaclip_core.automata.base import Arrays, Automaton
from metaclip_core.automata.double_array import DoubleArray
from metaclip_core.automata.hash_trie import HashTrie
from metaclip_core.automata.pointers import Pointers


class Engine(StrEnum):
    """What searches. Results are the same."""

    PYAHOCORASICK = "pyahocorasick"
    DAACHORSE = "daachorse"  # the extra `fast`
    HASH_TRIE = "hash_trie"


def automaton_type(engine: Engine) -> type[Automaton]:
    """The class of an engine's automata."""
    return {Engine.PYAHOCORASICK: Pointers, Engine.DAACHORSE: DoubleArray, Engine.HASH_TRIE: HashTrie}[engine]


def stored_automaton(engine: Engine, arrays: Arrays) -> Automaton:
    """The automaton that `to_arrays` of the engine's class wrote.

    Raises:
        ValueError: the arrays are damaged, or the engine has none.
    """
    stored: dict[Engine, Callable[[Arrays], Automaton]] = {
        Engine.DAACHORSE: DoubleArray.from_arrays,
        Engine.HASH_TRIE: HashTrie.from_arrays,
    }
    if engine not in stored:
        raise ValueError(f"{engine} is never stored")
    return stored[engine](arrays)
