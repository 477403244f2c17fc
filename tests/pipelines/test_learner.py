"""What learns, without Ray: switches that must not change what is learnt, and those that must."""

import pyarrow as pa
import pytest
import torch
import torch.distributed as dist

from metaclip_core.model import create_model
from metaclip_core.records import example_schema
from metaclip_core.shapes import SHAPES, Preset
from pipelines.config import build_config
from pipelines.learner import Learner
from pipelines.start import Start
from tests.ranks import on_ranks
from tests.small_models import small_tokenizer

PAIRS, STEPS = 12, 3
SHAPE = SHAPES[Preset.TINY]
SCHEMA = example_schema(SHAPE.image_size)


def config_of(*overrides):
    training = {"steps": 20, "global_batch_size": PAIRS, "warmup_steps": 0, "learning_rate": 1e-2}
    training["eps"] = 1e-3  # what has hardly a gradient would else go where rounding errors point
    return build_config({"training": training, "compute": {"num_workers": 1}}, overrides=overrides)


def examples(step, rows=slice(None)):
    """Rows of a batch of EXAMPLE, captions of 1 to 20 tokens."""
    generator = torch.Generator().manual_seed(step)
    size = 3 * SHAPE.image_size**2
    records = []
    for row in range(PAIRS):
        pixels = torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)
        ids = torch.randint(4, 200, (1 + (7 * row) % 20,), generator=generator).tolist()
        told = {"epoch": 0, "shard": 0, "row": row, "language": "en", "ledger_id": 1}
        records.append({"pixels": pixels.numpy().tobytes(), "input_ids": [0, *ids, 2], **told})
    return pa.Table.from_pylist(records[rows], SCHEMA)


def learner_of(*overrides, checkpoint=None, num_ranks=1):
    config = config_of(*overrides)
    start = Start(create_model(SHAPE, small_tokenizer(), seed=3), small_tokenizer())
    return Learner(config, start, checkpoint, device=torch.device("cpu"), num_ranks=num_ranks)


def learn(learner, steps=range(STEPS), rows=slice(None)):
    """Loss and gradient norm of each step."""
    found = []
    for step in steps:
        loss = learner.begin(learner.to_device(examples(step, rows)))
        taken = learner.end(loss, step=step)
        assert taken.finite
        found.append((taken.loss, taken.grad_norm))
    return found


def weights_of(learner):
    whole = {name: getattr(weight, "full_tensor", lambda weight=weight: weight)() for name, weight in named(learner)}
    return {name: weight.detach().clone() for name, weight in whole.items()}


def named(learner):
    return learner.model.named_parameters()


def assert_same(first, second, tolerance=2e-4):
    for name, weight in first.items():
        torch.testing.assert_close(weight, second[name], rtol=0, atol=tolerance, msg=name)


@pytest.fixture(scope="module")
def plain():
    learner = learner_of()
    return learn(learner), weights_of(learner)


@pytest.mark.parametrize(
    "switches",
    [
        ["training.chunk_rows=4"],
        ["training.chunk_rows=5"],  # the last chunk is smaller
        ["training.caption_group_rows=3"],
        ["training.chunk_rows=6", "training.caption_group_rows=2"],
        ["training.gradient_checkpointing=true"],
        ["training.ema_decay=0.9"],
        ["training.layout=sharded"],  # on one rank
    ],
)
def test_switches_of_memory_and_speed_change_nothing_that_is_learnt(plain, switches):
    learner = learner_of(*switches)
    steps = learn(learner)
    for (loss, norm), (expected_loss, expected_norm) in zip(steps, plain[0], strict=True):
        assert loss == pytest.approx(expected_loss, abs=1e-4)
        assert norm == pytest.approx(expected_norm, rel=1e-3)
    assert_same(weights_of(learner), plain[1])


def test_bfloat16_learns_nearly_the_same(plain):
    steps = learn(learner_of("training.precision=bfloat16"), steps=range(1))
    assert steps[0][0] == pytest.approx(plain[0][0][0], abs=0.05)
    assert steps[0][0] != plain[0][0][0]


def test_sigmoid_loss_learns():
    learner = learner_of("training.loss=sigmoid")
    losses = [loss for loss, _ in learn(learner, steps=[0] * 8)]
    assert losses[-1] < losses[0]
    assert learner.model.logit_bias.item() != -10.0


@pytest.mark.parametrize("switches", [[], ["training.loss=sigmoid"], ["training.ema_decay=0.5"]])
def test_what_is_saved_goes_on_as_if_nothing_had_happened(tmp_path, switches):
    learner = learner_of(*switches)
    learn(learner, steps=range(2))
    learner.save(tmp_path)
    learn(learner, steps=range(2, 4))
    again = learner_of(*switches, checkpoint=tmp_path)
    learn(again, steps=range(2, 4))
    assert_same(weights_of(again), weights_of(learner), tolerance=0)


def on_rank(layout, folder):
    rank, ranks = dist.get_rank(), dist.get_world_size()
    learner = learner_of(f"training.layout={layout}", "training.chunk_rows=3", num_ranks=ranks)
    rows = slice(rank * PAIRS // ranks, (rank + 1) * PAIRS // ranks)
    steps = learn(learner, rows=rows)
    part = folder / str(rank)
    part.mkdir(parents=True)
    learner.save(part)
    return steps, weights_of(learner)


@pytest.mark.parametrize("layout", ["replicated", "sharded"])
def test_two_ranks_learn_what_one_does_and_save_what_one_goes_on_from(plain, tmp_path, layout):
    found = on_ranks(2, on_rank, tmp_path, layout, tmp_path / "parts")
    for _, weights in found:
        assert_same(weights, plain[1])
    losses = [sum(loss for loss, _ in shares) / 2 for shares in zip(*(steps for steps, _ in found), strict=True)]
    assert losses == pytest.approx([loss for loss, _ in plain[0]], abs=1e-4)
    merged = tmp_path / "merged"
    merged.mkdir()
    for file in (tmp_path / "parts").glob("*/*"):
        file.rename(merged / file.name)
    again = learner_of(checkpoint=merged)
    assert_same(weights_of(again), found[0][1], tolerance=0)
