"""How a model is laid over the ranks: replicated, or its layers sharded, with less memory or faster layers if asked.

Sharding is FSDP2's: a rank keeps a slice of each parameter in float32, layers are gathered when they run, in the
precision of the policy, and gradients are averaged in float32. Scalars can't be sharded: the logit scale stays whole on
each rank, and `average_scalars_` does for its gradient what the wrappers do for all others.

All functions take a PairEncoder and leave the names of the bare model's parameters as they are. In order: freeze, cut
activations, compile, then replicate or shard, and make the optimiser last.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.nn.parallel import DistributedDataParallel
from transformers import MetaClip2Model

from metaclip_core.pair_encoder import PairEncoder


def replicate(encoder: PairEncoder) -> DistributedDataParallel:
    """`encoder`, whole on every rank; its buffers are constants and are not sent around."""
    device = encoder.model.device
    device_ids = None if device.type == "cpu" else [device]
    return DistributedDataParallel(
        encoder, device_ids=device_ids, forward_sync_buffers=False, gradient_as_bucket_view=True
    )


def shard_(encoder: PairEncoder, mesh: DeviceMesh, *, precision: torch.dtype) -> None:
    """Shard `encoder` over `mesh`, in place: embeddings, each layer, and the rest.

    Args:
        encoder: float32, on the mesh's device; equal on all ranks.
        mesh: of one dimension.
        precision: of the layers' arithmetic, bfloat16 on GPUs; embeddings leave the encoder in float32 all the same.
    """
    policy = MixedPrecisionPolicy(param_dtype=precision, reduce_dtype=torch.float32)
    model = encoder.model
    for part in (model.text_model.embeddings, model.vision_model.embeddings, *_layers(model)):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(encoder, mesh=mesh, mp_policy=policy, ignored_params=set(_scalars(encoder)))


def average_scalars_(encoder: PairEncoder, *, group: dist.ProcessGroup | None = None) -> None:
    """Average the scalars' gradients over the ranks of `shard_`'s mesh; after each backward pass, on all ranks."""
    for scalar in _scalars(encoder):
        if scalar.grad is not None:
            dist.all_reduce(scalar.grad, dist.ReduceOp.SUM, group=group)
            scalar.grad /= dist.get_world_size(group)


def cut_activations_(model: MetaClip2Model) -> None:
    """Keep a layer's input alone for the backward pass, and run the layer again there; in training mode only."""
    model.activation_checkpointing_enable({"use_reentrant": False})


def compile_layers_(model: MetaClip2Model) -> None:
    """Compile each layer, in place, at its first run; layers of one tower share what is compiled.

    Captions come in few lengths, those of the buckets, and rows in one size; the second length that is met makes it a
    variable of the compiled code, so that a run compiles at its start and not again.
    """
    for layer in _layers(model):
        layer.compile()


def _layers(model: MetaClip2Model) -> list[nn.Module]:
    return [*model.vision_model.encoder.layers, *model.text_model.encoder.layers]


def _scalars(encoder: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in encoder.parameters() if parameter.ndim == 0]
