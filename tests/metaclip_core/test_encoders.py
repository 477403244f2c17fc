import dataclasses
import io

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

from metaclip_core.captions import save_tokenizer, special_ids
from metaclip_core.encoders import load_hugging_face
from metaclip_core.export import save_open_clip
from metaclip_core.model_folder import save_model
from metaclip_core.open_clip_encoder import load_open_clip_folder, load_open_clip_weights
from metaclip_core.preprocessing import Preprocessing, Resize, from_hugging_face, from_open_clip
from tests.evaluation_sets import BROKEN, picture
from tests.small_models import CAPTIONS, small_model, small_tokenizer

CPU = torch.device("cpu")
SIZES = [(24, 20), (16, 16), (17, 40), (90, 31), (16, 33), (5, 7)]  # width, height
TEXTS = [*CAPTIONS, "a caption that is much longer than all the ids that the context has room for", ""]


def embedded(encoder):
    pixels = [
        encoder.preprocessing.pixels(picture(seed, width=w, height=h), max_pixels=10_000)
        for seed, (w, h) in enumerate(SIZES)
    ]
    return encoder.images(np.stack(pixels)), encoder.texts(TEXTS)


def by_open_clip(model, preprocess, tokenizer):
    """What a user of open_clip writes."""
    images = [Image.open(io.BytesIO(picture(seed, width=w, height=h))) for seed, (w, h) in enumerate(SIZES)]
    with torch.no_grad():
        pixels = torch.stack([preprocess(image) for image in images])
        return model.encode_image(pixels, normalize=True), model.encode_text(tokenizer(TEXTS), normalize=True)


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_embeddings_of_our_folder_are_those_of_open_clip_on_the_same_weights(tmp_path):
    save_model(small_model().eval(), small_tokenizer(), tmp_path / "ours")
    save_open_clip(small_model().eval(), small_tokenizer(), tmp_path / "theirs")
    name = f"local-dir:{tmp_path / 'theirs'}"
    model, preprocess = open_clip.create_model_from_pretrained(name)
    expected = by_open_clip(model.eval(), preprocess, open_clip.get_tokenizer(name))
    ours = load_hugging_face(tmp_path / "ours", device=CPU)
    theirs = load_open_clip_folder(tmp_path / "theirs", device="cpu")
    assert_same(embedded(ours), expected)
    assert_same(embedded(theirs), expected)
    assert ours.width == theirs.width == 20
    assert ours.logit_scale == pytest.approx(theirs.logit_scale)


def test_an_architecture_of_open_clip_takes_weights_of_a_file(tmp_path, monkeypatch):
    config = {
        "embed_dim": 12,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small-test", config)
    torch.manual_seed(0)
    model = open_clip.create_model("small-test", load_weights=False).eval()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    preprocess = open_clip.image_transform(32, is_train=False, mean=open_clip.OPENAI_DATASET_MEAN)
    expected = by_open_clip(model, preprocess, open_clip.get_tokenizer("small-test"))
    found = load_open_clip_weights("small-test", tmp_path / "weights.safetensors", device="cpu")
    assert_same(embedded(found), expected)
    (tmp_path / "other.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match="no weights of open_clip's small-test"):
        load_open_clip_weights("small-test", tmp_path / "other.safetensors", device="cpu")


@pytest.mark.parametrize(
    ("name", "message"),
    [("no-such", "no architecture 'no-such'"), ("ViT-H-14-worldwide-quickgelu", "takes its tokenizer .* from a hub")],
)
def test_an_architecture_that_can_not_be_built_here_is_named(name, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load_open_clip_weights(name, tmp_path / "weights.pt", device="cpu")


@pytest.fixture
def clip(tmp_path):
    """A folder as MetaCLIP 1 is published: CLIPModel."""
    tokenizer = small_tokenizer()
    frame = special_ids(tokenizer)
    tower = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = tower | {
        "vocab_size": len(tokenizer), "max_position_embeddings": 16,
        "eos_token_id": frame.eos, "bos_token_id": frame.bos, "pad_token_id": frame.pad,
    }  # fmt: skip
    vision = tower | {"image_size": 16, "patch_size": 8}
    torch.manual_seed(3)
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=20)).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tokenizer, tmp_path)
    CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    return model, tmp_path


def test_a_clip_folder_embeds_as_transformers_does(clip):
    model, folder = clip
    encoder = load_hugging_face(folder, device=CPU)
    pixels = encoder.preprocessing.pixels(picture(0, width=16, height=16), max_pixels=10_000)
    ids = small_tokenizer()(CAPTIONS, padding=True, return_tensors="pt")
    with torch.no_grad():
        images = model.get_image_features(pixel_values=encoder.preprocessing.normalise(torch.from_numpy(pixels)[None]))
        texts = model.get_text_features(**ids)
    assert_same(
        [encoder.images(pixels[None]), encoder.texts(CAPTIONS)],
        [torch.nn.functional.normalize(found.pooler_output, dim=1) for found in (images, texts)],
    )


def test_an_image_processor_is_read_from_its_folder():
    content = {"do_center_crop": True, "crop_size": {"height": 16, "width": 16}, "image_mean": [0.5] * 3, "resample": 2}
    found = from_hugging_face(content, image_size=16)
    assert found == dataclasses.replace(Preprocessing(16), mean=(0.5,) * 3, interpolation="bilinear")
    squashed = from_hugging_face({"do_center_crop": False, "size": {"height": 16, "width": 16}}, image_size=16)
    assert squashed.resize is Resize.SQUASH
    assert from_hugging_face({}, image_size=16) == Preprocessing(16)


def test_an_image_processor_of_another_size_is_refused():
    with pytest.raises(ValueError, match="224 pixels, and the model sees 16"):
        from_hugging_face({"crop_size": 224}, image_size=16)


def test_a_way_of_resizing_that_is_not_known_is_refused():
    content = {"size": 16, "resize_mode": "longest", "interpolation": "bicubic", "mean": [0] * 3, "std": [1] * 3}
    with pytest.raises(ValueError, match="'longest'"):
        from_open_clip(content)


def test_an_image_that_does_not_decode_gives_its_reason():
    assert Preprocessing(16).pixels(BROKEN, max_pixels=10_000) == "image_broken"
    assert Preprocessing(16).pixels(picture(0), max_pixels=10) == "image_pixels_over_limit"
