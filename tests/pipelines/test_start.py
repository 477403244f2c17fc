"""What a run starts from: fresh or published weights, and whose tokenizer."""

import pytest

from metaclip_core.captions import save_tokenizer, train_tokenizer
from metaclip_core.model import create_model
from metaclip_core.model_folder import save_model
from metaclip_core.shapes import SHAPES, Preset
from pipelines.config import build_config
from pipelines.curate import CurationResult
from pipelines.errors import UserError
from pipelines.model_card import with_scores, write_model_card
from pipelines.runs import scaled
from pipelines.start import load_start
from pipelines.tokenizer import make_tokenizer
from tests.small_models import small_model, small_tokenizer


@pytest.fixture
def published(tmp_path):
    """A folder of published weights."""
    folder = tmp_path / "published"
    save_model(create_model(SHAPES[Preset.TINY], small_tokenizer(), seed=7), small_tokenizer(), folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n# A model\n")
    return folder


def start_of(tmp_path, **model):
    config = build_config({"root": str(tmp_path), "model": model})
    uri = str(tmp_path / "tokenizer")
    make_tokenizer(config, None, None, uri=uri)
    return load_start(config, uri)


def test_published_weights_are_where_a_run_begins_with_their_tokenizer(published, tmp_path):
    start = start_of(tmp_path, pretrained=str(published))
    expected = create_model(SHAPES[Preset.TINY], small_tokenizer(), seed=7)
    for name, weight in start.model.named_parameters():
        assert (weight == expected.get_parameter(name)).all()
    assert len(start.tokenizer) == len(small_tokenizer())


def test_published_weights_of_another_shape_are_refused(tmp_path):
    folder = tmp_path / "other"
    save_model(small_model(), small_tokenizer(), folder)
    with pytest.raises(UserError, match=r"model.pretrained: .* another shape"):
        start_of(tmp_path, pretrained=str(folder))


def test_tokenizer_of_a_folder_is_taken(tmp_path):
    folder = tmp_path / "own"
    save_tokenizer(train_tokenizer(["one two"] * 9, vocab_size=280), folder)
    own = start_of(tmp_path, tokenizer="own").tokenizer
    assert own.get_vocab() == train_tokenizer(["one two"] * 9, vocab_size=280).get_vocab()


@pytest.mark.parametrize("content", [None, "{}"])
def test_folder_without_a_tokenizer_is_refused(tmp_path, content):
    folder = tmp_path / "none"
    folder.mkdir()
    if content is not None:
        (folder / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match="holds no tokenizer for captions"):
        start_of(tmp_path, tokenizer=str(folder))


def test_card_of_a_model_states_the_licence_of_its_beginnings(published, tmp_path):
    class Curated:
        pool, version = "web", "0123"

    config = build_config({"model": {"pretrained": str(published)}})
    write_model_card(tmp_path, config, Curated, "run-1")
    card = (tmp_path / "README.md").read_text()
    assert "license_name: cc-by-nc-4.0" in card
    assert "licence: cc-by-nc-4.0" in card
    write_model_card(tmp_path, build_config({}), Curated, "run-1")
    assert "license" not in (tmp_path / "README.md").read_text()


def curation_with(expected):
    return CurationResult(curated=None, thresholds=None, counts=None, funnel=None, expected=expected)


def test_worldwide_scale_lets_the_batch_grow_by_the_english_share():
    recipe = {"training": {"global_batch_size": 128, "scale": "worldwide"}, "compute": {"num_workers": 2}}
    config = scaled(build_config(recipe), curation_with({"en": 40.0, "de": 60.0}))
    assert config.training.global_batch_size == 320
    assert scaled(config, curation_with({"en": 40.0, "de": 60.0})) == config


def test_scaled_batch_does_not_depend_on_the_workers():
    recipe = {"training": {"global_batch_size": 60, "scale": "worldwide"}}
    batches = {
        scaled(
            build_config(recipe, overrides=[f"compute.num_workers={workers}"]), curation_with({"en": 3.0, "de": 2.0})
        ).training.global_batch_size
        for workers in (1, 2, 4)
    }
    assert batches == {128}
    with pytest.raises(UserError, match=r"128 does not divide by compute\.num_workers 3"):
        scaled(build_config(recipe, overrides=["compute.num_workers=3"]), curation_with({"en": 3.0, "de": 2.0}))


def test_scale_without_english_is_refused():
    config = build_config({"training": {"scale": "worldwide"}})
    with pytest.raises(UserError, match="English share"):
        scaled(config, curation_with({"de": 60.0}))


def test_locked_images_without_published_weights_are_refused():
    with pytest.raises(UserError, match=r"lock_images needs model\.pretrained"):
        build_config({"training": {"lock_images": True}})


def test_scores_of_a_card_are_those_that_are_shown_first_and_replace_earlier_ones():
    card = with_scores("# A model\n", {"eval/birds/en/top1": 0.25, "train/loss": 1.0}, run="a", data_card="card-a")
    metrics = {"eval/birds/en/top1": 0.5, "eval/birds/en/top1_low": 0.4, "eval/birds/mean/undecodable": 3.0}
    again = with_scores(card, metrics, run="b", data_card="card-b")
    assert again.startswith("# A model\n")
    assert "| birds | en | top1 | 50.0 |" in again
    assert all(gone not in again for gone in ("25.0", "top1_low", "undecodable", "train/loss", "card-a"))
    assert "card-b" in again
