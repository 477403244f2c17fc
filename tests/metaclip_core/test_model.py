import numpy as np
import pytest
import torch

from metaclip_core.caption_groups import pad_to_bucket
from metaclip_core.captions import CaptionEncoder, special_ids
from metaclip_core.model import create_model, encode_images, encode_pairs, encode_texts, model_config, shape_of
from metaclip_core.shapes import SHAPES, Preset
from tests.small_models import CAPTIONS, SHAPE, caption_ids, random_pixels, small_model, small_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def model():
    return small_model().eval()


@pytest.fixture(scope="module")
def pixels():
    return random_pixels(3)


@pytest.fixture(scope="module")
def input_ids():
    return caption_ids()


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


def test_hugging_face_attention_mask_changes_no_embedding(model, tokenizer):
    inputs = tokenizer(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        masked = model.get_text_features(**inputs).pooler_output
        plain = model.get_text_features(input_ids=inputs["input_ids"]).pooler_output
    torch.testing.assert_close(masked, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("preset", Preset)
def test_the_shape_of_a_configuration_is_the_one_it_was_made_of(preset, tokenizer):
    config = model_config(SHAPES[preset], vocab_size=300, frame=special_ids(tokenizer))
    assert shape_of(config) == SHAPES[preset]


def test_towers_with_different_activations_have_no_shape(tokenizer):
    config = model_config(SHAPE, vocab_size=300, frame=special_ids(tokenizer))
    config.text_config.hidden_act = "gelu"
    with pytest.raises(ValueError, match="'quick_gelu' and 'gelu'"):
        shape_of(config)
