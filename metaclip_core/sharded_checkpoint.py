"""Checkpoints that every rank writes its own part of, and that any number of ranks can read.

torch's distributed checkpoints, in their safetensors form: each file says in its JSON header where its tensors lie in
the whole. The usual form would do, but for its `.metadata`, which is a pickle and would be unpickled on loading.

Weights, moments and averages are tensors and are kept; an optimiser's settings are the recipe's and are not.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from metaclip_core.ema import WeightAverage

_FLAT = StateDictOptions(flatten_optimizer_state_dict=True)
_State = dict[str, Any]
_AVERAGE = "average."


def save_sharded(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None
) -> None:
    """Write this rank's part into `folder`, which all ranks share or which is merged afterwards; all ranks together."""
    state = _tensors(_states(model, optimizer, average))
    with _quiet_alone():
        save(state, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))


def load_sharded(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None
) -> None:
    """Read what any number of ranks wrote; all ranks together, each with all files in `folder`.

    Raises:
        ValueError: the folder holds no checkpoint.
    """
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no checkpoint: there is no .safetensors file")
    states = _states(model, optimizer, average)
    with _quiet_alone():
        load(_tensors(states), storage_reader=HuggingFaceStorageReader(str(folder)))
    set_model_state_dict(model, states["model"])
    set_optimizer_state_dict(model, optimizer, states["optimizer"], options=_FLAT)
    if average is not None:
        average.load_state_dict(states["average"])


def load_weights(folder: Path, model: nn.Module, *, averaged: bool) -> None:
    """Read the weights alone, into a whole model of one process.

    Args:
        folder: of a checkpoint, with all files.
        model: of the same names; what the checkpoint has beyond them is left.
        averaged: take the averages, of those weights that have one.

    Raises:
        ValueError: the folder holds no checkpoint.
    """
    if not any(folder.glob("*.safetensors")):
        raise ValueError(f"{folder} holds no checkpoint: there is no .safetensors file")
    reader = HuggingFaceStorageReader(str(folder))
    state = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if averaged:
        averages = [name for name in reader.read_metadata().state_dict_metadata if name.startswith(_AVERAGE)]
        own = {name.removeprefix(_AVERAGE) for name in averages} & model.state_dict().keys()
        for name in own:
            state[_AVERAGE + name] = state.pop(f"model.{name}")
    with _quiet_alone():
        load(state, storage_reader=reader)


def _states(model: nn.Module, optimizer: torch.optim.Optimizer, average: WeightAverage | None) -> dict[str, _State]:
    return {
        "model": get_model_state_dict(model),
        "optimizer": get_optimizer_state_dict(model, optimizer, options=_FLAT),
        "average": {} if average is None else average.state_dict(),
    }


def _tensors(states: dict[str, _State]) -> _State:
    """All tensors under one roof; they are the states' own, so that loading fills them."""
    return {
        f"{part}.{name}": value
        for part, state in states.items()
        for name, value in state.items()
        if isinstance(value, torch.Tensor)
    }


@contextmanager
def _quiet_alone() -> Iterator[None]:
    """A process without a group does it by itself, which is right where a model is exported."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
