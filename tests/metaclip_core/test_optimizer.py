import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from metaclip_core.captions import train_tokenizer
from metaclip_core.model import create_model, encode_images, encode_texts, lock_images_
from metaclip_core.optimizer import clamp_logit_scale_, clip_gradients_, create_optimizer, learning_rate_at
from metaclip_core.shapes import ModelShape, TowerShape


@pytest.fixture
def model():
    tower = TowerShape(width=8, layers=1, heads=1)
    shape = ModelShape(image_size=8, patch_size=8, vision=tower, text=tower, context_length=4, embedding_width=8)
    return create_model(shape, train_tokenizer(["a b"], vocab_size=270), seed=0)


def optimizer_of(model, weight_decay=0.5):
    return create_optimizer(model, learning_rate=0.1, betas=(0.9, 0.98), eps=1e-6, weight_decay=weight_decay)


def test_vectors_and_scales_do_not_decay_and_matrices_do(model):
    optimizer = optimizer_of(model)
    decay_of = {parameter: group["weight_decay"] for group in optimizer.param_groups for parameter in group["params"]}
    named = dict(model.named_parameters())
    assert len(decay_of) == len(named)
    for name, parameter in named.items():
        still = name.endswith(("bias", "logit_scale", "class_embedding")) or "norm" in name
        assert decay_of[parameter] == (0.0 if still else 0.5), name


def test_frozen_parameters_are_left_out(model):
    model.text_model.requires_grad_(requires_grad=False)
    optimized = {parameter for group in optimizer_of(model).param_groups for parameter in group["params"]}
    assert not optimized & set(model.text_model.parameters())


def test_a_step_is_that_of_adamw_by_hand():
    model = nn.Linear(1, 1)
    weight, bias = model.weight.item(), model.bias.item()
    optimizer = optimizer_of(model)
    model(torch.ones(1, 1)).sum().backward()  # both gradients are 1: the first step of Adam is the learning rate
    optimizer.step()
    assert model.weight.item() == pytest.approx(weight * (1 - 0.1 * 0.5) - 0.1, abs=1e-5)
    assert model.bias.item() == pytest.approx(bias - 0.1, abs=1e-5)


def test_the_learning_rate_warms_up_to_its_peak_and_falls_to_nothing():
    rates = [learning_rate_at(step, peak=2.0, warmup_steps=4, total_steps=24) for step in range(25)]
    assert rates[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert rates[14] == pytest.approx(1.0)
    assert all(later < earlier for earlier, later in pairwise(rates[4:]))
    assert 0 < rates[23] < 0.02
    assert rates[24] == learning_rate_at(30, peak=2.0, warmup_steps=4, total_steps=24) == 0


def test_training_may_have_no_warm_up_or_nothing_else():
    assert learning_rate_at(0, peak=2.0, warmup_steps=0, total_steps=5) == 2.0
    assert learning_rate_at(4, peak=2.0, warmup_steps=5, total_steps=5) == 2.0


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValueError, match="warmup_steps 6"):
        learning_rate_at(0, peak=1.0, warmup_steps=6, total_steps=5)


@pytest.mark.parametrize(("value", "clamped"), [(-1.0, 0.0), (3.0, 3.0), (9.0, math.log(100))])
def test_the_logit_scale_stays_between_nothing_and_the_logarithm_of_100(model, value, clamped):
    with torch.no_grad():
        model.logit_scale.fill_(value)
    clamp_logit_scale_(model)
    assert model.logit_scale.item() == pytest.approx(clamped)
    assert model.logit_scale.requires_grad


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_clipping_scales_as_torch_does_and_tells_the_norm_before(max_norm):
    layers = [nn.Linear(3, 2), nn.Linear(3, 2)]
    layers[1].load_state_dict(layers[0].state_dict())
    for layer in layers:
        (layer(torch.ones(1, 3)) * torch.tensor([2.0, -5.0])).sum().backward()
    expected = nn.utils.clip_grad_norm_(layers[0].parameters(), max_norm)
    assert clip_gradients_(layers[1].parameters(), max_norm=max_norm) == pytest.approx(expected.item(), rel=1e-6)
    torch.testing.assert_close(layers[1].weight.grad, layers[0].weight.grad)


def test_clipping_tells_a_norm_that_is_not_finite():
    layer = nn.Linear(1, 1)
    (layer(torch.ones(1, 1)) * math.nan).sum().backward()
    assert math.isnan(clip_gradients_(layer.parameters(), max_norm=1.0))


def test_locked_images_train_texts_alone_and_build_no_graph(model):
    model.train()
    lock_images_(model)
    assert not model.vision_model.training
    assert model.text_model.training
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert not [name for name in trained if name.startswith("vis")]
    images = encode_images(model, torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    texts = encode_texts(model, torch.tensor([[0, 5, 2]]))
    assert images.grad_fn is None
    (images * texts).sum().backward()
    assert model.visual_projection.weight.grad is None
    assert model.text_projection.weight.grad is not None
