import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, CLIPConfig, CLIPModel, pipeline

from metaclip_core.captions import train_tokenizer
from metaclip_core.model import encode_images, encode_texts
from metaclip_core.model_folder import load_model, load_pretrained, read_licence, save_model
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


@pytest.fixture
def folder(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path)
    return tmp_path


def edit_config(folder, edit):
    config = json.loads((folder / "config.json").read_text())
    edit(config)
    (folder / "config.json").write_text(json.dumps(config))


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


def test_pickled_weights_are_refused_unread(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=r"pickled weights alone \(pytorch_model\.bin\); only safetensors are read"):
        load_model(folder)


def test_a_folder_without_weights_is_refused(folder):
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="holds no weights"):
        load_model(folder)


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\xff"])
def test_a_configuration_that_names_no_model_is_refused(folder, content):
    (folder / "config.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(ValueError, match="names no model_type"):
        load_model(folder)


def test_code_of_a_folder_is_not_run(folder):
    (folder / "evil.py").write_text("raise SystemExit('run')")
    edit_config(folder, lambda config: config.update(auto_map={"AutoModel": "evil.Model", "AutoConfig": "evil.Config"}))
    assert load_model(folder)[0].config.model_type == "metaclip_2"
    edit_config(folder, lambda config: config.update(model_type="evil"))
    with pytest.raises(ValueError, match="'evil' model, expected 'metaclip_2'"):
        load_model(folder)


def test_weights_of_another_vocabulary_are_refused(folder):
    edit_config(folder, lambda config: config["text_config"].update(vocab_size=400))
    with pytest.raises(ValueError, match=r"token_embedding\.weight: \[300, 24\], not \[400, 24\]"):
        load_model(folder)


def test_weights_that_the_model_lacks_are_refused(folder):
    edit_config(folder, lambda config: config["text_config"].update(num_hidden_layers=1))
    with pytest.raises(ValueError, match=r"16 weights that its model lacks, among them text_model\.encoder\.layers\.1"):
        load_model(folder)


def test_positions_that_older_versions_kept_are_no_foreign_weights(folder):
    weights = load_file(folder / "model.safetensors")
    save_file(weights | {"text_model.embeddings.position_ids": torch.arange(16)[None]}, folder / "model.safetensors")
    load_model(folder)


def test_a_start_is_in_training_mode_and_of_the_shape_that_was_asked(folder):
    start = load_pretrained(folder, shape=SHAPE)
    assert start.model.training
    assert start.licence is None
    assert len(start.tokenizer) == 300
    with pytest.raises(ValueError, match="another shape: image_size is 16, not 224"):
        load_pretrained(folder, shape=SHAPES[Preset.B_32])


@pytest.mark.parametrize(
    ("name", "content", "licence"),
    [
        ("README.md", "---\nlicense: cc-by-nc-4.0\ntags: [vision]\n---\n# Model", "cc-by-nc-4.0"),
        ("README.md", "---\nlicense: other\nlicense_name: house-rules\n---\n", "house-rules"),
        ("README.md", "---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("README.md", "---\ntags: [vision]\n---\nlicense: mit", None),
        ("README.md", "# Model\n---\nlicense: mit\n---\n", None),
        ("README.md", "---\nlicense: mit", None),
        ("README.md", "---\n- license\n---\n", None),
        (
            "LICENSE",
            "\n  Attribution-NonCommercial 4.0 International\n\ntext",
            "Attribution-NonCommercial 4.0 International",
        ),
        ("LICENSE.txt", "", None),
        ("NOTES", "license: mit", None),
    ],
)
def test_the_licence_is_what_the_card_or_the_licence_file_states(tmp_path, name, content, licence):
    (tmp_path / name).write_text(content)
    assert read_licence(tmp_path) == licence


def test_a_card_without_a_licence_leaves_it_to_the_file(tmp_path):
    (tmp_path / "README.md").write_text("---\ntags: []\n---\n")
    (tmp_path / "LICENSE").write_text("MIT License\n")
    assert read_licence(tmp_path) == "MIT License"


def test_a_broken_card_is_refused(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: [\n---\n")
    with pytest.raises(ValueError, match="is no YAML"):
        read_licence(tmp_path)


def test_the_zero_shot_pipeline_of_hugging_face_runs_on_the_folder(folder, model, tokenizer):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))
    classify = pipeline("zero-shot-image-classification", str(folder), device="cpu")
    found = {row["label"]: row["score"] for row in classify(image, candidate_labels=CAPTIONS, hypothesis_template="{}")}
    with torch.no_grad():
        images = encode_images(model, torch.from_numpy(np.array(image).transpose(2, 0, 1))[None])
        expected = (model.logit_scale.exp() * images @ encode_texts(model, caption_ids()).T).softmax(dim=-1)[0]
    assert [found[caption] for caption in CAPTIONS] == pytest.approx(expected.tolist(), abs=1e-4)
