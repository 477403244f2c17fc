import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel

from metaclip_core.captions import CaptionEncoder, pad_to_bucket, train_tokenizer
from metaclip_core.model import (
    SHAPES,
    ModelShape,
    Preset,
    TowerShape,
    create_model,
    encode_images,
    encode_pairs,
    encode_texts,
    load_model,
    save_model,
)

SHAPE = ModelShape(
    image_size=16,
    patch_size=8,
    vision=TowerShape(width=32, layers=2, heads=2),
    text=TowerShape(width=24, layers=2, heads=2),
    context_length=16,
    embedding_width=20,
)
CAPTIONS = ["forty two", "ninety nine red balloons", "七"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(CAPTIONS, vocab_size=300)


@pytest.fixture(scope="module")
def model(tokenizer):
    return create_model(SHAPE, tokenizer, seed=5).eval()


@pytest.fixture(scope="module")
def pixels():
    return torch.randint(0, 256, (3, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def input_ids(tokenizer):
    rows = CaptionEncoder(tokenizer, context_length=16).encode(CAPTIONS)
    return pad_to_bucket(rows, buckets=(16,), pad_id=1)


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    return tmp_path


def test_the_seed_alone_decides_the_weights(tokenizer, model):
    state = torch.random.get_rng_state()
    torch.manual_seed(99)
    again = create_model(SHAPE, tokenizer, seed=5).state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in model.state_dict().items())
    other = create_model(SHAPE, tokenizer, seed=6).state_dict()
    assert not torch.equal(again["text_projection.weight"], other["text_projection.weight"])
    torch.manual_seed(99)
    expected = torch.rand(1)
    torch.manual_seed(99)
    create_model(SHAPE, tokenizer, seed=5)
    assert torch.equal(torch.rand(1), expected)
    torch.random.set_rng_state(state)


def test_a_new_model_is_set_up_as_the_recipe_says(model):
    assert model.logit_scale.item() == pytest.approx(np.log(1 / 0.07))
    assert model.config.text_config.hidden_act == model.config.vision_config.hidden_act == "quick_gelu"
    assert model.text_model.eos_token_id == 2
    assert model.config.text_config.pad_token_id == 1


@pytest.mark.parametrize("preset", Preset)
def test_every_preset_divides_evenly(preset):
    shape = SHAPES[preset]
    assert shape.image_size % shape.patch_size == 0
    assert shape.vision.width % shape.vision.heads == 0
    assert shape.text.width % shape.text.heads == 0


@pytest.mark.parametrize(("preset", "millions"), [(Preset.B_32, 151.3), (Preset.L_14, 427.6), (Preset.H_14, 986.1)])
def test_presets_have_the_published_number_of_parameters(tokenizer, preset, millions):
    with torch.device("meta"):
        model = create_model(SHAPES[preset], tokenizer, seed=0)
    # published for CLIP's vocabulary of 49,408 pieces
    missing_rows = 49408 - len(tokenizer)
    total = sum(p.numel() for p in model.parameters()) + missing_rows * SHAPES[preset].text.width
    assert total / 1e6 == pytest.approx(millions, abs=0.06)


def test_embeddings_are_unit_vectors(model, pixels, input_ids):
    with torch.no_grad():
        for embeddings in (encode_images(model, pixels), encode_texts(model, input_ids)):
            assert embeddings.shape == (3, 20)
            assert embeddings.dtype == torch.float32
            torch.testing.assert_close(embeddings.norm(dim=-1), torch.ones(3))


def test_both_towers_at_once_give_what_each_gives_alone(model, pixels, input_ids):
    with torch.no_grad():
        pairs = encode_pairs(model, pixels, input_ids)
        torch.testing.assert_close(pairs.images, encode_images(model, pixels))
        torch.testing.assert_close(pairs.texts, encode_texts(model, input_ids))


def test_embeddings_stay_float32_under_autocast(model, pixels, input_ids):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        pairs = encode_pairs(model, pixels, input_ids)
    assert pairs.images.dtype == pairs.texts.dtype == torch.float32


def test_the_length_of_the_padding_changes_no_embedding(model, tokenizer):
    rows = CaptionEncoder(tokenizer, context_length=10).encode(CAPTIONS)
    with torch.no_grad():
        short, long = (encode_texts(model, pad_to_bucket(rows, buckets=(size,), pad_id=1)) for size in (10, 16))
    torch.testing.assert_close(short, long, atol=1e-6, rtol=0)


def test_what_stands_behind_the_eos_does_not_matter_and_what_stands_before_does(model, input_ids):
    eos = (input_ids[0] == 2).nonzero()[0, 0]
    behind, before = input_ids.clone(), input_ids.clone()
    behind[0, eos + 1 :] = 7
    before[0, 1] = 7
    with torch.no_grad():
        embedding = encode_texts(model, input_ids)
        torch.testing.assert_close(encode_texts(model, behind), embedding, atol=1e-6, rtol=0)
        assert (encode_texts(model, before)[0] - embedding[0]).abs().max() > 1e-4


def test_captions_of_one_batch_do_not_influence_each_other(model, input_ids):
    with torch.no_grad():
        torch.testing.assert_close(encode_texts(model, input_ids)[1:2], encode_texts(model, input_ids[1:2]))


def test_every_parameter_gets_a_gradient_but_none_is_left_out(tokenizer, pixels, input_ids):
    model = create_model(SHAPE, tokenizer, seed=5)
    pairs = encode_pairs(model, pixels, input_ids)
    (model.logit_scale.exp() * (pairs.images @ pairs.texts.T)).tril().sum().backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


def test_a_saved_model_comes_back_the_same(folder, model, pixels, input_ids):
    loaded, tokenizer = load_model(folder)
    assert not loaded.training
    assert tokenizer("forty two")["input_ids"][-1] == 2
    with torch.no_grad():
        torch.testing.assert_close(encode_images(loaded, pixels), encode_images(model, pixels), atol=0, rtol=0)
        torch.testing.assert_close(encode_texts(loaded, input_ids), encode_texts(model, input_ids), atol=0, rtol=0)


def test_hugging_face_alone_reads_the_folder_and_agrees(folder, model):
    processor = AutoProcessor.from_pretrained(folder)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    inputs = processor(text=CAPTIONS, images=Image.fromarray(image), padding=True, return_tensors="pt")
    del inputs["attention_mask"]
    with torch.no_grad():
        output = AutoModel.from_pretrained(folder)(**inputs)
        ours = encode_images(model, torch.from_numpy(image.transpose(2, 0, 1))[None])
        texts = encode_texts(model, inputs["input_ids"])
    torch.testing.assert_close(output.image_embeds, ours, atol=1e-5, rtol=0)
    torch.testing.assert_close(output.text_embeds, texts, atol=1e-5, rtol=0)


def test_hugging_face_attention_mask_changes_no_embedding(model, tokenizer):
    inputs = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        masked = model.get_text_features(**inputs).pooler_output
        plain = model.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    torch.testing.assert_close(masked, plain, atol=1e-5, rtol=0)


def test_weights_are_saved_as_safetensors_only(folder):
    assert not [path.name for path in folder.iterdir() if path.suffix in {".bin", ".pt", ".pkl"}]
    assert (folder / "model.safetensors").is_file()


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        load_model(tmp_path)


def test_a_folder_of_another_architecture_is_refused(tmp_path):
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    CLIPModel(CLIPConfig(text_config=small | {"vocab_size": 9}, vision_config=small)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="'clip' model, expected 'metaclip_2'"):
        load_model(tmp_path)


def test_missing_weights_are_refused_and_not_drawn_at_random(folder):
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="lacks 16 weights"):
        load_model(folder)


def test_the_tokenizer_of_another_model_is_refused(model, tmp_path):
    save_model(model, train_tokenizer(["a larger vocabulary than the model's " * 9], vocab_size=320), tmp_path)
    with pytest.raises(ValueError, match="pieces and EOS"):
        load_model(tmp_path)
