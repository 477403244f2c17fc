import pytest
import torch
from transformers import MetaClip2Model

from metaclip_core.captions import SpecialIds
from metaclip_core.model import model_config
from metaclip_core.shapes import SHAPES, Activation, Preset

XLM_V = 901_629

# From the published configurations: image, patch; width, layers, MLP of vision and of text; context, embedding.
PUBLISHED = {
    Preset.S_16: (224, 16, (384, 12, 1536), (384, 12, 1536), 384),
    Preset.M_16: (224, 16, (512, 12, 2048), (512, 12, 2048), 512),
    Preset.B_32: (224, 32, (768, 12, 3072), (512, 12, 2048), 512),
    Preset.B_16: (224, 16, (768, 12, 3072), (512, 12, 2048), 512),
    Preset.L_14: (224, 14, (1024, 24, 4096), (768, 12, 3072), 768),
    Preset.H_14_QUICKGELU: (224, 14, (1280, 32, 5120), (1024, 24, 4096), 1024),
    Preset.H_14_378: (378, 14, (1280, 32, 5120), (1024, 24, 4096), 1024),
    Preset.BIGG_14: (224, 14, (1664, 48, 8192), (1280, 32, 5120), 1280),
    Preset.BIGG_14_378: (378, 14, (1664, 48, 8192), (1280, 32, 5120), 1280),
}


def blocks(width, layers, mlp):
    attention = 4 * (width * width + width)
    norms = 2 * 2 * width
    return layers * (attention + norms + (width * mlp + mlp) + (mlp * width + width))


def parameters(preset, vocab_size):
    image, patch, vision, text, embedding = PUBLISHED[preset]
    positions = 1 + (image // patch) ** 2
    width = vision[0]
    images = 3 * patch * patch * width + width + positions * width + 4 * width + blocks(*vision) + width * embedding
    width = text[0]
    texts = vocab_size * width + 77 * width + 2 * width + blocks(*text) + width * embedding
    return images + texts + 1


def on_meta(preset, vocab_size):
    with torch.device("meta"):
        return MetaClip2Model(
            model_config(SHAPES[preset], vocab_size=vocab_size, frame=SpecialIds(bos=0, eos=2, pad=1))
        )


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_has_as_many_parameters_as_its_published_shape(preset):
    assert sum(parameter.numel() for parameter in on_meta(preset, XLM_V).parameters()) == parameters(preset, XLM_V)


@pytest.mark.parametrize(("preset", "millions"), [(Preset.B_32, 151.3), (Preset.L_14, 427.6), (Preset.H_14_378, 986.7)])
def test_the_arithmetic_gives_what_is_published_for_the_vocabulary_of_clip(preset, millions):
    assert parameters(preset, 49_408) / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_vocabulary_of_xlm_v_takes_923_million_at_width_1024():
    assert on_meta(Preset.H_14_QUICKGELU, XLM_V).text_model.embeddings.token_embedding.weight.numel() == 923_268_096


@pytest.mark.parametrize(
    ("preset", "vision_heads", "text_heads"),
    [
        (Preset.S_16, 6, 6),
        (Preset.M_16, 8, 8),
        (Preset.B_16, 12, 8),
        (Preset.L_14, 16, 12),
        (Preset.H_14_378, 16, 16),
        (Preset.BIGG_14, 16, 20),
    ],
)
def test_heads_which_change_no_count_are_the_published_ones(preset, vision_heads, text_heads):
    assert (SHAPES[preset].vision.heads, SHAPES[preset].text.heads) == (vision_heads, text_heads)


def test_quick_gelu_is_used_where_the_name_says_so_and_by_the_models_for_laptops():
    quick = {preset for preset, shape in SHAPES.items() if shape.activation is Activation.QUICK_GELU}
    assert quick == {Preset.MINI, Preset.TINY, Preset.H_14_QUICKGELU}


@pytest.mark.parametrize("preset", Preset)
def test_every_preset_divides_evenly(preset):
    shape = SHAPES[preset]
    assert shape.image_size % shape.patch_size == 0
    assert shape.vision.width % shape.vision.heads == 0
    assert shape.text.width % shape.text.heads == 0
