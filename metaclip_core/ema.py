"""An exponential moving average of a model's weights, which is often the better model to evaluate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn


class WeightAverage:
    """The average a ← decay · a + (1 − decay) · w of each trainable parameter, in its precision, device and sharding.

    `model` is the bare one, whatever wraps it; it must be the same, with the same parameters frozen, at every call.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay {decay} must lie in [0, 1)")
        self._decay = decay
        self._averages = {name: weight.detach().clone() for name, weight in _trainable(model)}

    def update_(self, model: nn.Module) -> None:
        """Take in the weights of `model`; to be called after each step."""
        with torch.no_grad():
            for name, weight in _trainable(model):
                self._averages[name].lerp_(weight, 1 - self._decay)

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """While the block runs, `model` has the averages for weights."""
        self._exchange(model)
        try:
            yield
        finally:
            self._exchange(model)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The averages themselves, by the names of their parameters; for a checkpoint."""
        return dict(self._averages)

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take over the averages of a checkpoint.

        Raises:
            ValueError: they are those of other parameters.
        """
        if state.keys() != self._averages.keys():
            odd = min(state.keys() ^ self._averages.keys())
            raise ValueError(f"the averages are those of other parameters: {odd} is only on one side")
        for name, average in self._averages.items():
            average.copy_(state[name])

    def _exchange(self, model: nn.Module) -> None:
        with torch.no_grad():
            for name, weight in _trainable(model):
                kept = weight.detach().clone()
                weight.copy_(self._averages[name])
                self._averages[name].copy_(kept)


def _trainable(model: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, weight) for name, weight in model.named_parameters() if weight.requires_grad)
