"""Batches larger than memory: the gradients of a whole batch with the activations of one chunk (arXiv 2101.06983).

A contrastive loss needs all embeddings, but of the towers only their embeddings. So every chunk is embedded without a
graph; the loss on these gives a gradient for each embedding; then chunks are embedded again, one by one, with a graph,
through which its embeddings' gradients flow back. The towers run forward twice, and the result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch

from metaclip_core.embeddings import PairEmbeddings

Chunk = TypeVar("Chunk")


def backward_in_chunks(
    encode: Callable[[Chunk], PairEmbeddings],
    chunks: Sequence[Chunk],
    loss: Callable[..., torch.Tensor],
    scalars: Sequence[torch.Tensor],
    *,
    accumulate: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> torch.Tensor:
    """Add the gradients of `loss` to all parameters' `.grad`, as its `backward` would; returns it, detached.

    Args:
        encode: embeds a chunk; it is called twice for each, with torch's generators in the same state.
        chunks: this rank's part of the batch in order; all ranks have the same number of them.
        loss: of image features, text features and `scalars`, by position; gathers over ranks by itself.
        scalars: parameters of the loss, such as the logit scale.
        accumulate: what all chunks but the last go back in: DDP's `no_sync`, so that gradients travel once. Sharded
            models are better off without: they would have to keep gradients whole.
    """
    device = scalars[0].device
    states: list[_RandomState] = []
    embedded: list[PairEmbeddings] = []
    with torch.no_grad():
        for chunk in chunks:
            states.append(_RandomState.of(device))
            embedded.append(encode(chunk))
    images = torch.cat([chunk.images for chunk in embedded]).requires_grad_()
    texts = torch.cat([chunk.texts for chunk in embedded]).requires_grad_()
    sizes = [len(chunk.images) for chunk in embedded]
    del embedded
    copies = [scalar.detach().requires_grad_() for scalar in scalars]
    share = loss(images, texts, *copies)
    share.backward()  # type: ignore[no-untyped-call]
    gradients = zip(torch.split(_gradient(images), sizes), torch.split(_gradient(texts), sizes), strict=True)
    of_chunks = zip(chunks, states, gradients, strict=True)
    for number, (chunk, state, (of_images, of_texts)) in enumerate(of_chunks, 1):
        last = number == len(chunks)
        with nullcontext() if last else accumulate():
            with state.restored():
                again = encode(chunk)
            targets = [(again.images, of_images), (again.texts, of_texts)]
            if last:  # with whose backward pass wrappers expect every parameter's gradient
                targets += [(scalar, _gradient(copy)) for scalar, copy in zip(scalars, copies, strict=True)]
            _backward(targets)
    return share.detach()


def _gradient(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(tensor) if tensor.grad is None else tensor.grad


def _backward(targets: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Send each gradient back through its tensor; a frozen tower's embeddings take none."""
    trainable = [(tensor, gradient) for tensor, gradient in targets if tensor.requires_grad]
    torch.autograd.backward([tensor for tensor, _ in trainable], [gradient for _, gradient in trainable])


@dataclass(frozen=True)
class _RandomState:
    """The state of the generators that dropout draws from."""

    cpu: torch.Tensor
    cuda: torch.Tensor | None
    device: torch.device

    @classmethod
    def of(cls, device: torch.device) -> _RandomState:
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, device)

    @contextmanager
    def restored(self) -> Iterator[None]:
        with torch.random.fork_rng(devices=[] if self.cuda is None else [self.device]):
            torch.set_rng_state(self.cpu)
            if self.cuda is not None:
                torch.cuda.set_rng_state(self.cuda, self.device)
            yield
