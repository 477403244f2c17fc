"""What a device can't do, before anything is asked of it."""

from __future__ import annotations

import torch


def without_bfloat16(device: torch.device) -> str | None:
    """Why a device can't compute in bfloat16, or None where it can."""
    if device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False):
        return None
    return f"{torch.cuda.get_device_name(device)} has no bfloat16: set training.precision to float32"
