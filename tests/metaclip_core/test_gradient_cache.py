import math
import resource

import psutil
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from metaclip_core.embeddings import PairEmbeddings, unit
from metaclip_core.gradient_cache import backward_in_chunks
from metaclip_core.loss import contrastive_loss, sigmoid_loss
from tests.ranks import on_ranks

PAIRS, WIDTH = 24, 6
LOSSES = {"softmax": contrastive_loss, "sigmoid": sigmoid_loss}


class Towers(nn.Module):
    def __init__(self, *, dropout=0.0, loss="sigmoid", hidden=9):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.image = nn.Sequential(
                nn.Linear(5, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, WIDTH)
            ).double()
            self.text = nn.Sequential(
                nn.Linear(4, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, WIDTH)
            ).double()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07), dtype=torch.float64))
        if loss == "sigmoid":
            self.logit_bias = nn.Parameter(torch.tensor(-3.0, dtype=torch.float64))

    def scalars(self):
        return [parameter for name, parameter in self.named_parameters() if name.startswith("logit")]

    def forward(self, images, texts):
        return unit(self.image(images)), unit(self.text(texts))


def inputs(pairs=PAIRS):
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(pairs, columns, generator=generator, dtype=torch.float64) for columns in (5, 4)]


def encoder(model):
    return lambda chunk: PairEmbeddings(*model(*chunk))


def cut(batch, num_chunks):
    return list(zip(*(rows.tensor_split(num_chunks) for rows in batch), strict=True))


def gradients_of(towers):
    return {name: parameter.grad for name, parameter in towers.named_parameters()}


def plainly(name, batch):
    towers = Towers(loss=name)
    loss = LOSSES[name](*towers(*batch), *towers.scalars())
    loss.backward()
    return loss.item(), gradients_of(towers)


def in_chunks_on_a_rank(name, num_chunks):
    towers = Towers(loss=name)
    wrapped = DistributedDataParallel(towers)
    rank, ranks = torch.distributed.get_rank(), torch.distributed.get_world_size()
    mine = [rows[rank * PAIRS // ranks : (rank + 1) * PAIRS // ranks] for rows in inputs()]
    for _ in range(2):  # a second step finds the wrapper as the first did
        towers.zero_grad()
        loss = backward_in_chunks(
            encoder(wrapped), cut(mine, num_chunks), LOSSES[name], towers.scalars(), accumulate=wrapped.no_sync
        )
    return {"loss": loss.item(), "gradients": gradients_of(towers)}


CASES = [(name, num_chunks) for name in LOSSES for num_chunks in (1, 3, 12)]


def all_cases():
    return [in_chunks_on_a_rank(*case) for case in CASES]


@pytest.fixture(scope="module")
def shares_of_two_ranks(tmp_path_factory):
    of_ranks = on_ranks(2, all_cases, tmp_path_factory.mktemp("ranks"))
    return dict(zip(CASES, zip(*of_ranks, strict=True), strict=True))


@pytest.mark.parametrize("num_chunks", [1, 2, 5, 24])
@pytest.mark.parametrize("name", LOSSES)
def test_chunks_give_the_loss_and_gradients_of_the_batch(name, num_chunks):
    towers = Towers(loss=name)
    share = backward_in_chunks(encoder(towers), cut(inputs(), num_chunks), LOSSES[name], towers.scalars())
    loss, gradients = plainly(name, inputs())
    assert share.item() == pytest.approx(loss, abs=1e-12)
    assert not share.requires_grad
    torch.testing.assert_close(gradients_of(towers), gradients, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("name", "num_chunks"), CASES)
def test_chunks_on_two_processes_give_the_gradients_of_one(shares_of_two_ranks, name, num_chunks):
    shares = shares_of_two_ranks[name, num_chunks]
    loss, gradients = plainly(name, inputs())
    assert sum(share["loss"] for share in shares) / 2 == pytest.approx(loss, abs=1e-10)
    for share in shares:
        torch.testing.assert_close(share["gradients"], gradients, atol=1e-10, rtol=0)


def test_gradients_add_to_those_that_are_there():
    towers = Towers()
    for _ in range(2):
        backward_in_chunks(encoder(towers), cut(inputs(), 4), sigmoid_loss, towers.scalars())
    _, gradients = plainly("sigmoid", inputs())
    doubled = {name: 2 * gradient for name, gradient in gradients.items()}
    torch.testing.assert_close(gradients_of(towers), doubled, atol=1e-12, rtol=0)


def test_dropout_drops_the_same_both_times():
    chunks = cut(inputs(), 4)
    expected = Towers(dropout=0.5)
    torch.manual_seed(0)
    embedded = [expected(*chunk) for chunk in chunks]
    loss = sigmoid_loss(*(torch.cat(rows) for rows in zip(*embedded, strict=True)), *expected.scalars())
    loss.backward()
    after = torch.rand(1)
    towers = Towers(dropout=0.5)
    torch.manual_seed(0)
    share = backward_in_chunks(encoder(towers), chunks, sigmoid_loss, towers.scalars())
    assert torch.equal(torch.rand(1), after)
    assert share.item() == pytest.approx(loss.item(), abs=1e-12)
    torch.testing.assert_close(gradients_of(towers), gradients_of(expected), atol=1e-12, rtol=0)


def test_a_frozen_tower_gets_no_gradient_and_the_other_its_own():
    towers = Towers()
    towers.image.requires_grad_(requires_grad=False)
    backward_in_chunks(encoder(towers), cut(inputs(), 4), sigmoid_loss, towers.scalars())
    _, gradients = plainly("sigmoid", inputs())
    for name, gradient in gradients_of(towers).items():
        if name.startswith("image"):
            assert gradient is None
        else:
            torch.testing.assert_close(gradient, gradients[name], atol=1e-12, rtol=0)


def peak_of_a_step(num_chunks):
    """MiB of resident memory that a step adds; of 32 rows, a hidden layer takes 4 MiB."""
    towers = Towers(hidden=16_384)

    def step(num):
        def loss(*features_and_scalars):
            return contrastive_loss(*features_and_scalars, most_logits=2**17)

        backward_in_chunks(encoder(towers), cut(inputs(32 * num), num), loss, [towers.logit_scale])

    step(2)  # what is loaded and allocated once is there before
    before = psutil.Process().memory_info().rss
    step(num_chunks)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / 2**20


@pytest.mark.slow
def test_memory_of_64_chunks_is_that_of_4(tmp_path, monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "65536")  # or else the C library keeps what tensors gave back
    few, many = (on_ranks(1, peak_of_a_step, tmp_path, num_chunks)[0] for num_chunks in (4, 64))
    assert few > 16
    assert many <= 1.15 * few
