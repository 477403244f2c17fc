"""Embeddings of images and texts by a model, through Ray Data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch

from metaclip_core.batches import caption_buckets
from metaclip_core.captions import CaptionEncoder, pad_to_bucket, special_ids
from metaclip_core.images import decode
from metaclip_core.model import encode_images, encode_texts
from metaclip_core.model_folder import load_model
from metaclip_core.records import DropReason
from pipelines import storage
from pipelines.config.compute import ComputeConfig

_MAX_PIXELS = 100_000_000


class EmbedImages:
    """Holds a model; column image in, column embedding beside it out. An image that fails gets zeros."""

    def __init__(self, model_uri: str, *, threads: int) -> None:
        torch.set_num_threads(threads)
        with storage.local_copy(model_uri) as folder:
            self._model, _ = load_model(folder)
        self._image_size = int(self._model.vision_model.config.image_size)
        self._width = int(self._model.visual_projection.out_features)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Append the column `embedding`, and drop the image."""
        decoded = [
            decode(image, image_size=self._image_size, max_pixels=_MAX_PIXELS, crop=None)
            for image in batch["image"].to_pylist()
        ]
        embeddings = np.zeros((len(decoded), self._width), np.float32)
        sound = [i for i, pixels in enumerate(decoded) if not isinstance(pixels, DropReason)]
        if sound:
            pixels = torch.from_numpy(np.stack([decoded[i] for i in sound]))
            with torch.inference_mode():
                embeddings[sound] = encode_images(self._model, pixels).numpy()
        return _with_embedding(batch.drop_columns("image"), embeddings)


class EmbedTexts:
    """Holds a model; column text in, column embedding beside it out."""

    def __init__(self, model_uri: str, *, threads: int) -> None:
        torch.set_num_threads(threads)
        with storage.local_copy(model_uri) as folder:
            self._model, tokenizer = load_model(folder)
        self._context_length = int(self._model.text_model.config.max_position_embeddings)
        self._encoder = CaptionEncoder(tokenizer, context_length=self._context_length)
        self._pad_id = special_ids(tokenizer).pad

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Append the column `embedding`."""
        input_ids = pad_to_bucket(
            self._encoder.encode(batch["text"].to_pylist()),
            buckets=caption_buckets(self._context_length),
            pad_id=self._pad_id,
        )
        with torch.inference_mode():
            embeddings = encode_texts(self._model, input_ids).numpy()
        return _with_embedding(batch, embeddings)


def _with_embedding(batch: pa.Table, embeddings: npt.NDArray[np.float32]) -> pa.Table:
    width = embeddings.shape[1]
    column = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), width)
    return batch.append_column("embedding", column)


def embed(
    rows: ray.data.Dataset,
    stage: type[EmbedImages | EmbedTexts],
    model_uri: str,
    *,
    batch_rows: int,
    compute: ComputeConfig,
) -> pa.Table:
    """All rows with their embeddings, in any order. Needs a Ray cluster."""
    embedded = rows.map_batches(
        stage,
        fn_constructor_args=(model_uri,),
        fn_constructor_kwargs={"threads": compute.worker_threads},
        batch_format="pyarrow",
        batch_size=batch_rows,
        num_cpus=compute.worker_cpus,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=compute.max_actors),
    )
    return pa.concat_tables(embedded.iter_batches(batch_format="pyarrow", batch_size=None))


def matrix(table: pa.Table) -> torch.Tensor:
    """The column `embedding` as float32 [n, width]."""
    column = table["embedding"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().reshape(len(column), -1).copy())
