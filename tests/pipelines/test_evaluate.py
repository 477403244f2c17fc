import json

import pytest
import torch

from pipelines import storage
from pipelines.embed import DataEmbedder, LocalEmbedder
from pipelines.errors import UserError
from pipelines.evaluate import evaluate_model, load_evaluations
from pipelines.evaluation_sets import EvaluationSet
from pipelines.models import check_model, load_encoder, model_digest
from tests.evaluation_sets import BROKEN, classification, picture, write_model, write_set


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def quiet(*_):
    pass


@pytest.mark.ray
def test_a_model_is_evaluated_through_ray_data_as_in_one_process(cluster, make_config, tmp_path, model):
    captions = {"en": [["a", "b"], ["c"]] * 4, "ja": [["七"], ["八"]] * 4}
    images = [BROKEN, *(picture(row) for row in range(1, 8))]
    things = write_set(tmp_path / "things", classification(), label=[0, 1, 2, 0, 1, 2, 0, 1], image=images)
    pairs = write_set(tmp_path / "pairs", {"task": "retrieval", "captions": captions}, image=images)
    config = make_config(f"evaluation.sets=[{things}, {pairs}]", "evaluation.batch_rows=3")
    metrics = evaluate_model(config, model, progress=quiet)
    assert metrics["eval/things/mean/undecodable"] == metrics["eval/pairs/mean/undecodable"] == 1

    local = LocalEmbedder(model, batch_rows=2, threads=1)
    through_ray = DataEmbedder(model, batch_rows=3, compute=config.compute)
    stored = EvaluationSet.load(things).images
    prompts = [["one", "a one"], ["two"], ["three"], ["four"], ["five"]]
    found, expected = (embedder.embed([stored, stored], prompts) for embedder in (through_ray, local))
    torch.testing.assert_close(found.prompts, expected.prompts)
    for ours, theirs in zip(found.images, expected.images, strict=True):
        torch.testing.assert_close(ours.embeddings, theirs.embeddings)
        assert ours.decoded.tolist() == theirs.decoded.tolist() == [False] + [True] * 7

    [kept] = load_evaluations(config)
    assert (kept.model, kept.samples_seen, dict(kept.metrics)) == (model, None, metrics)

    names = storage.list_names(f"{config.root}/class-names")
    assert len(names) == 2
    changed = classification(templates={"en": ["{}", "a {}"], "de": ["ein {}"]})
    write_set(tmp_path / "things", changed, label=[0, 1, 2, 0, 1, 2, 0, 1], image=images)
    again = evaluate_model(config, model, progress=quiet)
    assert {name: again[name] for name in again if "/en/" in name} == {
        name: metrics[name] for name in metrics if "/en/" in name
    }
    assert len(storage.list_names(f"{config.root}/class-names")) == 3  # English was there


def test_the_digest_of_a_model_is_of_what_embeds_and_not_of_its_place(tmp_path, model):
    again, other = write_model(tmp_path / "again"), write_model(tmp_path / "other", seed=6)
    (tmp_path / "again" / "README.md").write_text("a card")
    assert model_digest(model) == model_digest(again)
    assert model_digest(model) != model_digest(other)


def test_a_model_of_another_architecture_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(
        UserError, match="of architecture 'bert'; evaluated are metaclip_2, clip and open_clip's"
    ) as caught:
        check_model(str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "neither config.json nor open_clip_config.json"),
        ({"config.json": "{"}, "no configuration of a model"),
        ({"config.json": "[]"}, "no configuration of a model"),
        ({"config.json": '{"model_type": "clip"}', "pytorch_model.bin": ""}, "no .safetensors file"),
    ],
)
def test_a_folder_that_is_no_model_is_refused(files, message, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        check_model(str(tmp_path))


@pytest.mark.parametrize("name", ["open_clip:ViT-B-32", "open_clip:@x", "open_clip:ViT-B-32@"])
def test_a_name_of_open_clip_without_weights_is_refused(name):
    with pytest.raises(UserError, match="open_clip:ARCHITECTURE@WEIGHTS"):
        check_model(name)


def test_weights_that_are_not_there_are_refused(tmp_path):
    with pytest.raises(UserError, match="no weights at"):
        check_model(f"open_clip:ViT-B-32@{tmp_path}/gone.pt")


def test_a_model_whose_weights_do_not_fit_is_refused(model, tmp_path):
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["vision_config"]["hidden_size"] = 64
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="weights of other sizes"):
        load_encoder(model)


def test_an_evaluation_without_sets_is_refused(make_config, model):
    with pytest.raises(UserError, match=r"evaluation.sets is empty"):
        evaluate_model(make_config(), model, progress=quiet)


def test_a_set_that_does_not_fit_is_refused_before_anything_is_started(make_config, tmp_path, model):
    uri = write_set(tmp_path / "things", classification(), label=[7])
    with pytest.raises(UserError, match="1 labels do not fit its 3 classes"):
        evaluate_model(make_config(f"evaluation.sets=[{uri}]"), model, progress=quiet)
