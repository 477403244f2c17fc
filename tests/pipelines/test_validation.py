"""What held-out pairs say of a model."""

import math

import pyarrow as pa
import pytest
import torch

from metaclip_core.loss import contrastive_loss
from pipelines.embed import LocalEmbedder
from pipelines.validation import OF_PAIRS, measure_pairs
from tests.evaluation_sets import picture, write_model

SCALE = torch.tensor(math.log(10.0))


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    return LocalEmbedder(write_model(tmp_path_factory.mktemp("model")), batch_rows=4, threads=1)


def table(number):
    return pa.table({"image": [picture(n) for n in range(number)], "caption": [f"number {n}" for n in range(number)]})


def test_all_metrics_that_a_sweep_may_ask_for_are_reported_and_no_others(embedder):
    pairs = table(6)
    metrics = measure_pairs(pairs, embedder, SCALE)
    assert metrics.keys() == OF_PAIRS
    images = embedder.images(pairs["image"].to_pylist()).embeddings
    texts = embedder.prompts([[caption] for caption in pairs["caption"].to_pylist()])
    assert metrics["valid/loss"] == pytest.approx(float(contrastive_loss(images, texts, SCALE)))
    first = (images @ texts.T).argmax(dim=1)
    assert metrics["valid/image_to_text_recall1"] == pytest.approx((first == torch.arange(6)).double().mean().item())
    assert metrics["valid/pairs"] == 6


def test_no_pairs_say_nothing(embedder):
    assert measure_pairs(table(0), embedder, SCALE) == {}
