"""A look at what a model knows, on a curated pool of four shards."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from metaclip_core.draws import uniform
from pipelines import storage
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.embed import LocalEmbedder
from pipelines.errors import UserError
from pipelines.look import classify, search
from pipelines.metadata import import_metadata
from pipelines.selection import read_unique
from tests.evaluation_sets import BROKEN, picture, write_model


def quiet(*_):
    """No progress."""


@pytest.fixture
def model(tmp_path):
    return write_model(tmp_path / "model")


def test_classify_gives_labels_their_shares_of_a_softmax(make_config, model, tmp_path):
    (tmp_path / "image.png").write_bytes(picture(3))
    labels = ["seven", "七", "sieben"]
    shares = classify(make_config(), model, str(tmp_path / "image.png"), labels)
    embedder = LocalEmbedder(model, batch_rows=8, threads=1)
    logits = embedder.logit_scale * (
        embedder.prompts([[label] for label in labels]) @ embedder.images([picture(3)]).embeddings[0]
    )
    assert shares == pytest.approx(dict(zip(labels, torch.softmax(logits, 0).tolist(), strict=True)))
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_classify_of_no_image_is_one_sentence(make_config, model, tmp_path):
    (tmp_path / "image.png").write_bytes(BROKEN)
    with pytest.raises(UserError, match="does not decode as an image"):
        classify(make_config(), model, str(tmp_path / "image.png"), ["a"])
    with pytest.raises(UserError, match="there is no image"):
        classify(make_config(), model, str(tmp_path / "gone.png"), ["a"])


@pytest.mark.ray
def test_search_finds_the_nearest_images_of_a_sample_of_the_pool_and_keeps_its_embeddings(
    cluster, sample, model, tmp_path
):
    (tmp_path / "pool").mkdir()
    for shard in sorted(sample.glob("*.tar"))[:4]:
        (tmp_path / "pool" / shard.name).symlink_to(shard)
    recipe = {
        "root": str(tmp_path / "root"),
        "pool": {"name": "numbers", "uri": str(tmp_path / "pool")},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3},
        "evaluation": {"search_images": 60},
    }
    config = build_config(recipe)
    import_metadata(str(sample / "metadata"), config)
    curation = curate(config, progress=quiet)

    found = search(config, model, "<b>seven</b>", limit=5, progress=quiet)
    pairs = [read_unique(curation.curated, shard) for shard in range(4)]
    share = 60 / sum(table.num_rows for table in pairs)
    chosen = {
        pair["pair_id"]: [caption["text"] for caption in pair["captions"]]
        for table in pairs
        for pair, draw in zip(
            table.to_pylist(), uniform(table["pair_id"], purpose="search", epoch=0, seed=0), strict=True
        )
        if draw < share
    }
    assert found.num_images == len(chosen)
    assert 40 < found.num_images < 80
    similarities = [image.similarity for image in found.images]
    assert similarities == sorted(similarities, reverse=True)
    assert {image.pair_id: image.captions for image in found.images}.items() <= chosen.items()

    [kept] = Path(config.root, "pool-embeddings").iterdir()
    table = storage.read_table(str(kept))
    embeddings = np.stack(table["embedding"].to_pylist())
    text = LocalEmbedder(model, batch_rows=8, threads=1).prompts([["<b>seven</b>"]])[0].numpy()
    expected = np.sort((embeddings @ text)[table["decoded"].to_numpy()])[::-1][:5]
    assert similarities == pytest.approx(expected.tolist())

    page = Path(found.page_uri).read_text()
    assert "&lt;b&gt;seven&lt;/b&gt;" in page
    assert len(re.findall('<img src="data:image/jpeg;base64,', page)) == 5
    written = kept.stat().st_mtime_ns
    assert search(config, model, "七", limit=3, progress=quiet).num_images == found.num_images
    assert kept.stat().st_mtime_ns == written


def test_search_without_a_curated_pool_says_so(make_config, model):
    with pytest.raises(UserError, match="run `metaclip curate` first"):
        search(make_config(), model, "seven", limit=3, progress=quiet)
