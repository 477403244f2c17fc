import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metaclip_core.loss import contrastive_loss, sigmoid_loss
from tests.ranks import on_ranks

PAIRS, WIDTH = 12, 6
LOSSES = {"softmax": contrastive_loss, "sigmoid": sigmoid_loss}
ONE_BLOCK, MANY_BLOCKS, ROW_BY_ROW = 2**26, 4 * PAIRS, 1


class Towers(nn.Module):
    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.image = nn.Parameter(torch.randn(5, WIDTH, generator=generator, dtype=torch.float64))
        self.text = nn.Parameter(torch.randn(4, WIDTH, generator=generator, dtype=torch.float64))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), dtype=torch.float64))
        self.logit_bias = nn.Parameter(torch.tensor(-3.0, dtype=torch.float64))

    def scalars(self, name):
        return [self.logit_scale] if name == "softmax" else [self.logit_scale, self.logit_bias]

    def forward(self, images, texts):
        unit = nn.functional.normalize
        return unit(images @ self.image, dim=-1), unit(texts @ self.text, dim=-1)


def inputs():
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(PAIRS, columns, generator=generator, dtype=torch.float64) for columns in (5, 4)]


def gradients_of(towers):
    return {name: parameter.grad for name, parameter in towers.named_parameters() if parameter.grad is not None}


def whole_batch(name, most_logits=ONE_BLOCK):
    towers = Towers()
    loss = LOSSES[name](*towers(*inputs()), *towers.scalars(name), most_logits=most_logits)
    loss.backward()
    return loss.item(), gradients_of(towers)


def share_of_a_rank(name, most_logits):
    towers = Towers()
    if name == "softmax":
        towers.logit_bias.requires_grad_(requires_grad=False)
    wrapped = DistributedDataParallel(towers)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mine = slice(rank * PAIRS // ranks, (rank + 1) * PAIRS // ranks)
    loss = LOSSES[name](*wrapped(*(rows[mine] for rows in inputs())), *towers.scalars(name), most_logits=most_logits)
    loss.backward()
    return {"loss": loss.item(), "gradients": gradients_of(towers)}


CASES = [(name, most) for name in LOSSES for most in (ONE_BLOCK, MANY_BLOCKS, ROW_BY_ROW)]


def all_shares():
    return [share_of_a_rank(*case) for case in CASES]


@pytest.fixture(scope="module")
def shares_of_two_ranks(tmp_path_factory):
    of_ranks = on_ranks(2, all_shares, tmp_path_factory.mktemp("ranks"))
    return dict(zip(CASES, zip(*of_ranks, strict=True), strict=True))


def naive_softmax(images, texts, scale, _bias):
    logits = np.exp(scale) * images @ texts.T
    total = 0.0
    for i in range(len(logits)):
        total -= logits[i, i] - np.log(np.exp(logits[i]).sum())
        total -= logits[i, i] - np.log(np.exp(logits[:, i]).sum())
    return total / (2 * len(logits))


def naive_sigmoid(images, texts, scale, bias):
    total = 0.0
    for i, image in enumerate(images):
        for j, text in enumerate(texts):
            sign = 1 if i == j else -1
            total -= math.log(1 / (1 + math.exp(-sign * (math.exp(scale) * float(image @ text) + bias))))
    return total / len(images)


@pytest.mark.parametrize("most_logits", [ONE_BLOCK, MANY_BLOCKS, ROW_BY_ROW])
@pytest.mark.parametrize(("name", "naive"), [("softmax", naive_softmax), ("sigmoid", naive_sigmoid)])
def test_the_loss_equals_a_naive_sum(name, naive, most_logits):
    towers = Towers()
    images, texts = towers(*inputs())
    loss = LOSSES[name](images, texts, *towers.scalars(name), most_logits=most_logits)
    scale, bias = towers.logit_scale.item(), towers.logit_bias.item()
    assert loss.item() == pytest.approx(naive(images.detach().numpy(), texts.detach().numpy(), scale, bias), abs=1e-12)


@pytest.mark.parametrize("most_logits", [MANY_BLOCKS, ROW_BY_ROW])
@pytest.mark.parametrize("name", LOSSES)
def test_blocks_of_rows_change_no_gradient(name, most_logits):
    loss, gradients = whole_batch(name)
    loss_in_blocks, gradients_in_blocks = whole_batch(name, most_logits)
    assert loss_in_blocks == pytest.approx(loss, abs=1e-12)
    torch.testing.assert_close(gradients_in_blocks, gradients, atol=1e-12, rtol=0)


def test_features_that_are_all_alike_cost_the_logarithm_of_the_batch():
    features = nn.functional.normalize(torch.ones(PAIRS, WIDTH), dim=-1)
    loss = contrastive_loss(features, features, torch.tensor(2.0))
    assert loss.item() == pytest.approx(math.log(PAIRS), abs=1e-5)


def test_logits_keep_their_precision_under_autocast():
    towers = Towers().float()
    features = towers(*(rows.float() for rows in inputs()))
    plain = contrastive_loss(*features, towers.logit_scale)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert contrastive_loss(*features, towers.logit_scale).item() == pytest.approx(plain.item(), abs=1e-6)


@pytest.mark.parametrize(("name", "most_logits"), CASES)
def test_two_processes_give_the_loss_and_gradients_of_one(shares_of_two_ranks, name, most_logits):
    shares = shares_of_two_ranks[name, most_logits]
    loss, gradients = whole_batch(name)
    assert sum(share["loss"] for share in shares) / 2 == pytest.approx(loss, abs=1e-10)
    assert shares[0]["loss"] != shares[1]["loss"]
    for share in shares:
        torch.testing.assert_close(share["gradients"], gradients, atol=1e-10, rtol=0)
