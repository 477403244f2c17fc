import pytest
import torch

from metaclip_core.devices import without_bfloat16
from metaclip_core.health import UnhealthyError, check_bfloat16


@pytest.fixture
def old_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla V100")
    return torch.device("cuda")


def test_device_without_bfloat16_is_told_by_training_and_doctor_alike(old_gpu):
    told = "Tesla V100 has no bfloat16: set training.precision to float32"
    assert without_bfloat16(old_gpu) == told
    with pytest.raises(UnhealthyError, match=told):
        check_bfloat16(old_gpu)


def test_cpu_and_newer_gpus_have_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert without_bfloat16(torch.device("cuda")) is None
    assert without_bfloat16(torch.device("cpu")) is None
