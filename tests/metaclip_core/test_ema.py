import pytest
import torch
from torch import nn

from metaclip_core.ema import WeightAverage


def moved(layer):
    with torch.no_grad():
        for weight in layer.parameters():
            weight.add_(torch.randn_like(weight))


@pytest.fixture
def layer():
    torch.manual_seed(0)
    return nn.Linear(3, 2).double()


def test_the_average_is_the_weighted_sum_of_all_weights(layer):
    average = WeightAverage(layer, decay=0.75)
    expected = layer.weight.detach().clone()
    for _ in range(5):
        moved(layer)
        average.update_(layer)
        expected = 0.75 * expected + 0.25 * layer.weight.detach()
    torch.testing.assert_close(average.state_dict()["weight"], expected, atol=1e-12, rtol=0)


def test_applied_averages_are_the_weights_for_a_while(layer):
    average = WeightAverage(layer, decay=0.5)
    start = layer.weight.detach().clone()
    moved(layer)
    trained = layer.weight.detach().clone()
    with average.applied(layer):
        assert torch.equal(layer.weight, start)
    assert torch.equal(layer.weight, trained)
    assert torch.equal(average.state_dict()["weight"], start)


def test_an_average_goes_on_from_its_state(layer):
    average = WeightAverage(layer, decay=0.5)
    state = {name: tensor.clone() for name, tensor in average.state_dict().items()}
    moved(layer)
    resumed = WeightAverage(layer, decay=0.5)
    resumed.load_state_dict(state)
    for each in (average, resumed):
        each.update_(layer)
    torch.testing.assert_close(resumed.state_dict(), average.state_dict(), atol=0, rtol=0)


def test_averages_of_other_parameters_are_refused(layer):
    with pytest.raises(ValueError, match="bias is only on one side"):
        WeightAverage(nn.Linear(3, 2, bias=False), decay=0.5).load_state_dict(
            WeightAverage(layer, decay=0.5).state_dict()
        )


def test_frozen_weights_have_no_average(layer):
    layer.bias.requires_grad_(requires_grad=False)
    assert set(WeightAverage(layer, decay=0.5).state_dict()) == {"weight"}


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_averages_nothing_is_refused(layer, decay):
    with pytest.raises(ValueError, match="decay"):
        WeightAverage(layer, decay=decay)
