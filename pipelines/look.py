"""A look at what a model knows: which label fits an image, and which images of the pool fit a text."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from metaclip_core.draws import Purpose, uniform
from metaclip_core.records import DropReason, Stage
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import RunConfig
from pipelines.curate import CurationResult, load_curation
from pipelines.curated import Curated
from pipelines.embed import DataEmbedder, LocalEmbedder, matrix, reading
from pipelines.errors import UserError
from pipelines.evaluation_sets import image_rows
from pipelines.manifest import Manifest, load_manifest
from pipelines.models import check_model, model_digest
from pipelines.pages import template
from pipelines.pictures import read_pictures
from pipelines.runs import load_result
from pipelines.selection import read_unique
from pipelines.shards import Progress
from pipelines.sources.base import open_source

REVISION = 1
_SHARDS_PER_BATCH = 1  # images of a shard are held at once
_COLUMNS = ["pair_id", "url", "shard", "row", "image_offset", "image_length", "captions"]


@dataclass(frozen=True)
class Found:
    """An image of the pool with its captions, and its cosine similarity to what was asked for."""

    pair_id: str
    url: str | None
    shard: int
    image_offset: int
    image_length: int
    captions: list[str]
    similarity: float


@dataclass(frozen=True)
class Search:
    """Images that fit a text, best first."""

    text: str
    images: list[Found]
    num_images: int  # that were looked through
    page_uri: str


def classify(config: RunConfig, model: str | None, image_uri: str, labels: Sequence[str]) -> dict[str, float]:
    """Of each label its share in [0, 1] among them, best first.

    Args:
        config: the recipe.
        model: see `models`; None: that of the recipe's finished run.
        image_uri: of an encoded image.
        labels: texts in any languages, as they stand.

    Raises:
        UserError: there is no such model or image, or it does not decode.
    """
    try:
        data = storage.read_bytes(storage.absolute(image_uri))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(f"there is no image {image_uri}") from error
    embedder = _embedder(config, _model(config, model))
    image = embedder.images([data])
    if not image.decoded[0]:
        raise UserError(f"{image_uri} does not decode as an image")
    texts = embedder.prompts([[label] for label in labels])
    shares = torch.softmax(embedder.logit_scale * (texts @ image.embeddings[0]), dim=0).tolist()
    return dict(sorted(zip(labels, shares, strict=True), key=lambda pair: -pair[1]))


def search(config: RunConfig, model: str | None, text: str, *, limit: int, progress: Progress) -> Search:
    """Images of a sample of the recipe's curated pool that fit a text, and a page with them.

    The sample is embedded by Ray Data the first time that a model is asked, and kept.

    Raises:
        UserError: there is no such model, or the pool is not curated.
    """
    chosen = _model(config, model)
    pool = _embedded_pool(config, chosen, progress=progress)
    similarity = matrix(pool) @ _embedder(config, chosen).prompts([[text]])[0]
    similarity[~torch.from_numpy(pool["decoded"].to_numpy().copy())] = -torch.inf
    best = similarity.topk(min(limit, len(similarity)))
    rows = pool.drop_columns(["embedding", "decoded", "order"]).take(pa.array(best.indices.numpy())).to_pylist()
    images = [Found(**row, similarity=value) for row, value in zip(rows, best.values.tolist(), strict=True)]
    pictures = read_pictures(config, load_manifest(config), images)
    name = f"search-{hashlib.sha256(f'{chosen} {text}'.encode()).hexdigest()[:12]}"
    uri = storage.join(storage.Layout(config.root).report(name), "index.html")
    page = template("search.html").render(
        text=text, model=chosen, images=images, pictures=pictures, num_images=len(similarity)
    )
    storage.write_bytes(uri, page.encode())
    return Search(text, images, len(similarity), uri)


def _model(config: RunConfig, model: str | None) -> str:
    chosen = load_result(config).model_uri if model is None else model
    check_model(chosen)
    return chosen


def _embedder(config: RunConfig, model: str) -> LocalEmbedder:
    return LocalEmbedder(model, batch_rows=config.evaluation.batch_rows, threads=config.compute.worker_threads)


def _embedded_pool(config: RunConfig, model: str, *, progress: Progress) -> pa.Table:
    curation = load_curation(config)
    version = storage.version_of(
        "pool-embeddings",
        REVISION,
        model=model_digest(model),
        curation=curation.curated.version,
        images=config.evaluation.search_images,
        seed=config.seed,
    )
    uri = storage.Layout(config.root).pool_embeddings(version)
    try:
        return storage.read_table(uri)
    except FileNotFoundError:
        embedded = _embed_pool(config, model, curation, progress=progress)
    storage.write_table(uri, embedded)
    return embedded


def _embed_pool(config: RunConfig, model: str, curation: CurationResult, *, progress: Progress) -> pa.Table:
    manifest = load_manifest(config)
    pairs = curation.funnel.rows_out(Stage.DEDUPLICATE)
    images = PoolImages(
        config, curation.curated, manifest, share=min(1.0, config.evaluation.search_images / max(pairs, 1))
    )
    embedder = DataEmbedder(model, batch_rows=config.evaluation.batch_rows, compute=config.compute)
    with connected(config.compute):
        rows = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
            images, batch_size=_SHARDS_PER_BATCH, **reading(config.compute)
        )
        embedded = embedder.apply(rows, total=min(pairs, config.evaluation.search_images), progress=progress)
    if not embedded.num_rows:
        raise UserError(f"the sample of pool {curation.curated.pool} holds no image; raise evaluation.search_images")
    return embedded


class PoolImages:
    """Shards → images of the pairs that a hash of their ids chooses, with their captions."""

    def __init__(self, config: RunConfig, curated: Curated, manifest: Manifest, *, share: float) -> None:
        self._config, self._curated, self._share = config, curated, share
        self._names = manifest.table["name"].to_pylist()

    def __call__(self, shards: pa.Table) -> pa.Table:
        """Rows that `Embed` takes. Images that can't be read are null."""
        return pa.concat_tables(self._shard(shard) for shard in shards["shard"].to_pylist())

    def _shard(self, shard: int) -> pa.Table:
        pairs = read_unique(self._curated, shard, columns=_COLUMNS)
        draws = uniform(pairs["pair_id"], purpose=Purpose.SEARCH, epoch=0, seed=self._config.seed)
        chosen = pairs.filter(pa.array(np.asarray(draws < self._share))).sort_by("image_offset")
        offsets, lengths = chosen["image_offset"].to_pylist(), chosen["image_length"].to_pylist()
        images = list(open_source(self._config).read_images(self._names[shard], offsets, lengths))
        column = pa.array([None if isinstance(image, DropReason) else image for image in images], pa.binary())
        captions = [[caption["text"] for caption in of_pair] for of_pair in chosen["captions"].to_pylist()]
        order = pa.array([(shard << 32) + row for row in chosen["row"].to_pylist()], pa.int64())
        rows = image_rows(pa.chunked_array([column]), pa.chunked_array([order]))
        for name in ("pair_id", "url", "shard", "image_offset", "image_length"):
            rows = rows.append_column(name, chosen[name])
        return rows.append_column("captions", pa.array(captions, pa.list_(pa.string())))
