import dataclasses
import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import MetaClip2Model

from metaclip_core.captions import SpecialIds
from metaclip_core.export import open_clip_config, save_open_clip
from metaclip_core.model import (
    create_model,
    encode_images,
    encode_texts,
    model_config,
    prepare_for_sigmoid_,
)
from metaclip_core.shapes import SHAPES, Activation, Preset, TowerShape
from tests.small_models import CAPTIONS, SHAPE, caption_ids, small_tokenizer

# Heads of 64 and the usual MLP are what open_clip assumes where a configuration is silent: here neither is so.
ODD = dataclasses.replace(SHAPE, vision=TowerShape(width=26, layers=3, heads=2, mlp_ratio=64 / 13))
SHAPES_TO_EXPORT = {
    "quick gelu": SHAPE,
    "gelu": dataclasses.replace(SHAPE, activation=Activation.GELU),
    "mlp of bigG": ODD,
}


@pytest.fixture(params=SHAPES_TO_EXPORT)
def model(request):
    model = create_model(SHAPES_TO_EXPORT[request.param], small_tokenizer(), seed=5).eval()
    with torch.no_grad():  # biases and norms begin at 0 and 1, and would hide that they were mixed up
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def folder(model, tmp_path):
    save_open_clip(model, small_tokenizer(), tmp_path)
    return tmp_path


def test_open_clip_gives_the_same_embeddings(folder, model):
    theirs, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(CAPTIONS)
    assert tokens.tolist() == caption_ids().tolist()
    with torch.no_grad():
        images = theirs.encode_image(preprocess(image)[None], normalize=True)
        texts = theirs.encode_text(tokens, normalize=True)
        ours = encode_images(model, torch.from_numpy(np.array(image).transpose(2, 0, 1))[None])
        torch.testing.assert_close(images, ours, atol=1e-5, rtol=0)
        torch.testing.assert_close(texts, encode_texts(model, caption_ids()), atol=1e-5, rtol=0)
    assert theirs.logit_scale.item() == model.logit_scale.item()


def test_the_bias_of_the_sigmoid_loss_goes_along(tmp_path):
    model = create_model(SHAPE, small_tokenizer(), seed=5)
    prepare_for_sigmoid_(model)
    save_open_clip(model, small_tokenizer(), tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}")
    assert theirs.logit_bias.item() == -10
    assert load_file(tmp_path / "open_clip_model.safetensors")["logit_bias"].item() == -10


@pytest.mark.parametrize(
    "preset", [Preset.L_14, Preset.H_14_QUICKGELU, Preset.H_14_378, Preset.BIGG_14, Preset.BIGG_14_378]
)
def test_a_preset_has_the_configuration_that_open_clip_ships_under_its_name(preset):
    shipped = open_clip.get_model_config(preset.value)
    with torch.device("meta"):
        model = MetaClip2Model(model_config(SHAPES[preset], vocab_size=901_629, frame=SpecialIds(bos=0, eos=2, pad=1)))
    ours = json.loads(json.dumps(open_clip_config(model, small_tokenizer())))
    assert ours["quick_gelu"] == shipped.get("quick_gelu", False)
    assert ours["embed_dim"] == shipped["embed_dim"]
    others = {"hf_tokenizer_name", "tokenizer_kwargs", "vocab_size", "eos_id", "pool_type"}
    for tower in ("vision_cfg", "text_cfg"):
        for name, value in shipped[tower].items():
            if name not in others:
                assert ours[tower][name] == pytest.approx(value, abs=1e-4), name
