import math
import socket

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from metaclip_core.loss import contrastive_loss

PAIRS, WIDTH = 8, 6


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.image = nn.Parameter(torch.randn(5, WIDTH, generator=generator, dtype=torch.float64))
        self.text = nn.Parameter(torch.randn(4, WIDTH, generator=generator, dtype=torch.float64))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), dtype=torch.float64))

    def forward(self, images, texts):
        unit = nn.functional.normalize
        return unit(images @ self.image, dim=-1), unit(texts @ self.text, dim=-1)


def inputs():
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(PAIRS, columns, generator=generator, dtype=torch.float64) for columns in (5, 4))


def whole_batch():
    towers = Towers()
    images, texts = towers(*inputs())
    loss = contrastive_loss(images, texts, towers.logit_scale)
    loss.backward()
    return loss.item(), [parameter.grad for parameter in towers.parameters()]


def train_on_a_share(rank, ranks, port, folder):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=ranks)
    towers = Towers()
    wrapped = DistributedDataParallel(towers)
    mine = slice(rank * PAIRS // ranks, (rank + 1) * PAIRS // ranks)
    images, texts = wrapped(*(rows[mine] for rows in inputs()))
    loss = contrastive_loss(images, texts, towers.logit_scale)
    loss.backward()
    outcome = {"loss": loss.detach(), "gradients": [parameter.grad for parameter in towers.parameters()]}
    torch.save(outcome, folder / f"{rank}.pt")
    dist.destroy_process_group()


def naive(images, texts, scale):
    logits = np.exp(scale) * images @ texts.T
    total = 0.0
    for i in range(len(logits)):
        total -= logits[i, i] - np.log(np.exp(logits[i]).sum())
        total -= logits[i, i] - np.log(np.exp(logits[:, i]).sum())
    return total / (2 * len(logits))


def test_the_loss_equals_a_naive_sum():
    towers = Towers()
    images, texts = towers(*inputs())
    loss = contrastive_loss(images, texts, towers.logit_scale)
    expected = naive(images.detach().numpy(), texts.detach().numpy(), towers.logit_scale.item())
    assert loss.item() == pytest.approx(expected, abs=1e-12)


def test_features_that_are_all_alike_cost_the_logarithm_of_the_batch():
    features = nn.functional.normalize(torch.ones(PAIRS, WIDTH), dim=-1)
    loss = contrastive_loss(features, features, torch.tensor(2.0))
    assert loss.item() == pytest.approx(math.log(PAIRS), abs=1e-5)


def test_two_processes_give_the_loss_and_gradients_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(train_on_a_share, args=(2, port, tmp_path), nprocs=2)
    outcomes = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    loss, gradients = whole_batch()
    assert sum(outcome["loss"].item() for outcome in outcomes) / 2 == pytest.approx(loss, abs=1e-10)
    assert outcomes[0]["loss"] != outcomes[1]["loss"]
    for outcome in outcomes:
        for gradient, expected in zip(outcome["gradients"], gradients, strict=True):
            torch.testing.assert_close(gradient, expected, atol=1e-10, rtol=0)
