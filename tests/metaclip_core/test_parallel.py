import pytest
import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from metaclip_core.caption_groups import group_captions
from metaclip_core.ema import WeightAverage
from metaclip_core.gradient_cache import backward_in_chunks
from metaclip_core.loss import contrastive_loss
from metaclip_core.model import lock_images_
from metaclip_core.optimizer import clamp_logit_scale_, clip_gradients_, create_optimizer
from metaclip_core.pair_encoder import PairEncoder, encode_batch
from metaclip_core.parallel import average_scalars_, compile_layers_, cut_activations_, replicate, shard_
from metaclip_core.sharded_checkpoint import load_sharded, save_sharded
from tests.ranks import on_ranks
from tests.small_models import random_pixels, small_model

PAIRS, STEPS = 8, 3


def whole(tensor):
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


def rank_and_ranks():
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def batch_of(step, rows):
    pixels = random_pixels(PAIRS, seed=step)[rows]
    generator = torch.Generator().manual_seed(step)
    lines = [[0, *torch.randint(4, 300, (1 + i,), generator=generator).tolist(), 2] for i in range(PAIRS)]
    return pixels, group_captions(lines[rows], group_rows=2, buckets=(4, 8, 16), pad_id=1)


def my_rows():
    rank, ranks = rank_and_ranks()
    return slice(rank * PAIRS // ranks, (rank + 1) * PAIRS // ranks)


class Trainee:
    """A model with all that trains it, wrapped as `kind` says."""

    def __init__(self, kind, seed=5):
        self.kind = kind
        self.model = small_model(seed).train()
        self.encoder = PairEncoder(self.model)
        if "cut" in kind:
            cut_activations_(self.model)
        if "locked" in kind:
            lock_images_(self.model)
        self.wrapped = self.encoder
        if "replicated" in kind:
            self.wrapped = replicate(self.encoder)
        if "sharded" in kind:
            shard_(self.encoder, init_device_mesh("cpu", (dist.get_world_size(),)), precision=torch.float32)
        self.optimizer = create_optimizer(self.model, learning_rate=1e-2, betas=(0.9, 0.95), eps=1e-6, weight_decay=0.1)
        self.average = WeightAverage(self.model, decay=0.5)

    def backward(self, step):
        rows = my_rows()
        scalars = [self.model.logit_scale]
        if "chunked" in self.kind:
            halves = [slice(start, start + 2) for start in range(rows.start, rows.stop, 2)]
            chunks = [batch_of(step, half) for half in halves]
            share = backward_in_chunks(self.encode, chunks, contrastive_loss, scalars)
        else:
            pairs = self.encode(batch_of(step, rows))
            share = contrastive_loss(pairs.images, pairs.texts, *scalars)
            share.backward()
        if "sharded" in self.kind:
            average_scalars_(self.encoder)
        return share.item()

    def encode(self, batch):
        return encode_batch(self.wrapped, *batch)

    def step(self, step):
        self.optimizer.zero_grad()
        loss = self.backward(step)
        norm = clip_gradients_(self.model.parameters(), max_norm=0.5)
        self.optimizer.step()
        clamp_logit_scale_(self.model)
        self.average.update_(self.model)
        return {"loss": loss, "norm": norm}

    def weights(self):
        return {name: whole(weight) for name, weight in self.model.named_parameters()}

    def averages(self):
        return {name: whole(average) for name, average in self.average.state_dict().items()}

    def gradients(self):
        return {name: whole(p.grad) for name, p in self.model.named_parameters() if p.grad is not None}


def train(kind):
    trainee = Trainee(kind)
    loss = trainee.backward(step=0)
    outcome = {"loss": loss, "gradients": trainee.gradients()}
    steps = [trainee.step(step) for step in range(STEPS)]
    return outcome | {"steps": steps, "weights": trainee.weights(), "averages": trainee.averages()}


KINDS = ["replicated", "sharded", "sharded cut", "sharded chunked", "replicated locked", "sharded locked"]


RESUMABLE = ["sharded", "replicated"]


def save_after_a_step(kind, folder):
    trainee = Trainee(kind)
    trainee.step(0)
    save_sharded(folder, trainee.model, trainee.optimizer, trainee.average)
    at_save = trainee.weights()
    trainee.step(1)
    return {"at_save": at_save, "weights": trainee.weights(), "averages": trainee.averages()}


def go_on(kind, folder):
    trainee = Trainee(kind, seed=6)
    load_sharded(folder, trainee.model, trainee.optimizer, trainee.average)
    at_load = trainee.weights()
    trainee.step(1)
    return {"at_save": at_load, "weights": trainee.weights(), "averages": trainee.averages()}


def do_all(folder):
    return {
        "trained": {kind: train(kind) for kind in KINDS},
        "saved": {kind: save_after_a_step(kind, folder / kind) for kind in RESUMABLE},
        "resumed": {kind: go_on(kind, folder / "alone") for kind in RESUMABLE},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def saved_alone(folder):
    return save_after_a_step("", folder / "alone")


@pytest.fixture(scope="module")
def two_ranks(saved_alone, folder, tmp_path_factory):
    return on_ranks(2, do_all, tmp_path_factory.mktemp("ranks"), folder)


@pytest.fixture(scope="module")
def on_two_ranks(two_ranks):
    return [of_rank["trained"] for of_rank in two_ranks]


@pytest.mark.parametrize("kind", KINDS)
def test_two_ranks_train_as_one_process_does(on_two_ranks, kind):
    alone = train("locked" if "locked" in kind else "")
    outcomes = [of_rank[kind] for of_rank in on_two_ranks]
    assert sum(outcome["loss"] for outcome in outcomes) / 2 == pytest.approx(alone["loss"], abs=1e-5)
    for outcome in outcomes:
        torch.testing.assert_close(outcome["gradients"], alone["gradients"], atol=1e-5, rtol=0)
        norms = [step["norm"] for step in outcome["steps"]]
        assert norms == pytest.approx([step["norm"] for step in alone["steps"]], rel=1e-3)


def test_sharding_gives_the_loss_and_gradients_of_replicas(on_two_ranks):
    for of_rank in on_two_ranks:
        replicated = of_rank["replicated"]
        for kind in ("sharded", "sharded cut", "sharded chunked"):
            assert of_rank[kind]["loss"] == pytest.approx(replicated["loss"], abs=1e-5)
            torch.testing.assert_close(of_rank[kind]["gradients"], replicated["gradients"], atol=1e-5, rtol=0)


def test_all_ranks_end_with_the_same_weights_and_averages(on_two_ranks):
    first, second = on_two_ranks
    for kind in KINDS:
        for what in ("weights", "averages"):
            torch.testing.assert_close(first[kind][what], second[kind][what], atol=0, rtol=0)


def check_continuation(saved, resumed):
    torch.testing.assert_close(resumed["at_save"], saved["at_save"], atol=0, rtol=0)
    for what in ("weights", "averages"):
        # a step of Adam is the learning rate times a sign where gradients are all but nothing
        distances = torch.cat([(resumed[what][name] - saved[what][name]).abs().flatten() for name in saved[what]])
        assert distances.quantile(0.99) < 1e-5, what


@pytest.mark.parametrize("kind", RESUMABLE)
def test_a_checkpoint_of_two_ranks_goes_on_in_one_process(two_ranks, folder, kind):
    assert {path.suffix for path in (folder / kind).iterdir()} == {".safetensors"}
    check_continuation(two_ranks[0]["saved"][kind], go_on("", folder / kind))


@pytest.mark.parametrize("kind", RESUMABLE)
def test_a_checkpoint_of_one_process_goes_on_with_two_ranks(two_ranks, saved_alone, kind):
    for of_rank in two_ranks:
        check_continuation(saved_alone, of_rank["resumed"][kind])


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    trainee = Trainee("")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        load_sharded(tmp_path, trainee.model, trainee.optimizer, None)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.filterwarnings("ignore")  # of the compiler about itself
def test_compiled_layers_give_the_loss_and_gradients_of_plain_ones():
    plain, compiled = Trainee(""), Trainee("")
    compile_layers_(compiled.model)
    assert list(compiled.weights()) == list(plain.weights())
    for step in range(3):
        for trainee in (plain, compiled):
            trainee.optimizer.zero_grad()
        assert compiled.backward(step) == pytest.approx(plain.backward(step), abs=1e-5)
        torch.testing.assert_close(compiled.gradients(), plain.gradients(), atol=1e-5, rtol=0)
