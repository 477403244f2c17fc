"""Run a function on several gloo ranks of this machine."""

import os
import socket

import torch
import torch.distributed as dist
from torch import multiprocessing


def _on_rank(rank, ranks, port, folder, call):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(ranks))
    dist.init_process_group("gloo", rank=rank, world_size=ranks)
    try:
        function, arguments = call
        torch.save(function(*arguments), folder / f"rank-{rank}.pt")
    finally:
        dist.destroy_process_group()


def on_ranks(ranks, function, folder, *arguments):
    """What `function(*arguments)` returns on each of `ranks` processes; tensors, numbers, lists and dicts of them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(_on_rank, args=(ranks, port, folder, (function, arguments)), nprocs=ranks)
    return [torch.load(folder / f"rank-{rank}.pt", weights_only=True) for rank in range(ranks)]
