import pytest
import torch

from metaclip_core import health
from metaclip_core.health import CHECKS, UnhealthyError, measure_steps
from metaclip_core.shapes import Preset
from tests.ranks import on_ranks

CPU = torch.device("cpu")


def all_checks():
    quick = {name: check for name, check in CHECKS.items() if name != "compiled layers"}
    return [check(CPU) for check in quick.values()]


def test_sound_process_passes():
    assert all(all_checks())


def told_on_rank():
    return "; ".join(all_checks())


def test_sound_ranks_pass(tmp_path):
    for told in on_ranks(2, told_on_rank, tmp_path):
        assert "2 ranks, gradients within" in told
        assert "the loss of a replicated model" in told


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch's own, which it hides unless warnings are errors
def test_compiled_layers_are_tried():
    assert "layers compiled in" in CHECKS["compiled layers"](CPU)


def test_speed_is_told():
    assert "images/s a rank" in measure_steps(CPU, preset=Preset.TINY, rows=4, bfloat16=True)


def test_gradients_that_are_off_are_told(monkeypatch):
    def off(images, texts, scale):
        return 1.5 * original(images, texts, scale)

    original = health.contrastive_loss
    monkeypatch.setattr(health, "contrastive_loss", off)
    with pytest.raises(UnhealthyError, match="off by"):
        CHECKS["gathered gradients"](CPU)


def test_optimiser_that_is_off_is_told(monkeypatch):
    adamw = torch.optim.AdamW

    def off(*arguments, fused, **options):
        return adamw(*arguments, fused=fused, **{**options, "lr": 0.2 if fused else 0.1})

    monkeypatch.setattr(torch.optim, "AdamW", off)
    with pytest.raises(UnhealthyError, match="fused AdamW is off"):
        CHECKS["fused optimiser"](CPU)
