"""The sizes of the models: from one for two CPU cores to the largest that was published.

Presets bear the names of their published weights, with open_clip's order of words, and have their shapes: all read 224
pixels but for those with another number in their name. Of the published ones QuickGELU is used where a name says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Activation(StrEnum):
    """The nonlinearity of the MLPs, by its name in transformers."""

    GELU = "gelu"
    QUICK_GELU = "quick_gelu"


@dataclass(frozen=True)
class TowerShape:
    """A transformer of `width`, which its attention `heads` share; its MLPs are `mlp_ratio` times as wide."""

    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0

    @property
    def mlp_width(self) -> int:
        """The width of the MLPs' hidden layer, rounded down."""
        return int(self.width * self.mlp_ratio)


@dataclass(frozen=True)
class ModelShape:
    """All that sets the size of a model, but for its vocabulary. Sizes in pixels and tokens."""

    image_size: int
    patch_size: int
    vision: TowerShape
    text: TowerShape
    context_length: int
    embedding_width: int
    activation: Activation = Activation.QUICK_GELU


class Preset(StrEnum):
    """Names of the shapes in `SHAPES`."""

    MINI = "mini"
    TINY = "tiny"
    S_16 = "ViT-S-16-worldwide"
    M_16 = "ViT-M-16-worldwide"
    B_32 = "ViT-B-32-worldwide"
    B_16 = "ViT-B-16-worldwide"
    L_14 = "ViT-L-14-worldwide"
    H_14_QUICKGELU = "ViT-H-14-worldwide-quickgelu"
    H_14_378 = "ViT-H-14-worldwide-378"
    BIGG_14 = "ViT-bigG-14-worldwide"
    BIGG_14_378 = "ViT-bigG-14-worldwide-378"


def _published(
    vision: TowerShape,
    text: TowerShape,
    *,
    embedding: int,
    patch: int,
    image: int = 224,
    activation: Activation = Activation.GELU,
) -> ModelShape:
    return ModelShape(image, patch, vision, text, 77, embedding, activation)


_S, _M, _B = TowerShape(384, 12, 6), TowerShape(512, 12, 8), TowerShape(768, 12, 12)
_L, _H = TowerShape(1024, 24, 16), TowerShape(1280, 32, 16)
_BIGG, _BIGG_TEXT = TowerShape(1664, 48, 16, mlp_ratio=64 / 13), TowerShape(1280, 32, 20)


def flop_of_pair(shape: ModelShape) -> float:
    """Of a training step, forward and backward, about: six for each weight of the blocks and each token."""
    patches = (shape.image_size // shape.patch_size) ** 2 + 1
    return 6 * (patches * _weights(shape.vision) + shape.context_length * _weights(shape.text))


def _weights(tower: TowerShape) -> int:
    """Of the blocks: attention has four square matrices, the MLP two oblong ones."""
    return tower.layers * (4 * tower.width**2 + 2 * tower.width * tower.mlp_width)


SHAPES: Mapping[Preset, ModelShape] = MappingProxyType(
    {
        # For the sample of handwritten numbers on two CPU cores.
        Preset.MINI: ModelShape(24, 4, TowerShape(48, 2, 3), TowerShape(48, 2, 3), 24, 48),
        Preset.TINY: ModelShape(24, 4, TowerShape(96, 3, 3), TowerShape(96, 2, 3), 24, 96),
        Preset.S_16: _published(_S, _S, embedding=384, patch=16),
        Preset.M_16: _published(_M, _M, embedding=512, patch=16),
        Preset.B_32: _published(_B, _M, embedding=512, patch=32),
        Preset.B_16: _published(_B, _M, embedding=512, patch=16),
        Preset.L_14: _published(_L, _B, embedding=768, patch=14),
        Preset.H_14_QUICKGELU: _published(_H, _L, embedding=1024, patch=14, activation=Activation.QUICK_GELU),
        Preset.H_14_378: _published(_H, _L, embedding=1024, patch=14, image=378),
        Preset.BIGG_14: _published(_BIGG, _BIGG_TEXT, embedding=1280, patch=14),
        Preset.BIGG_14_378: _published(_BIGG, _BIGG_TEXT, embedding=1280, patch=14, image=378),
    }
)
