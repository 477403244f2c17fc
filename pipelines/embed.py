"""Embeddings of images and of prompts by a model, in this process or through Ray Data; the driver holds them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import ray
import torch

from metaclip_core.evaluation.classification import mean_direction
from metaclip_core.records import DropReason
from pipelines.config.compute import ComputeConfig
from pipelines.evaluation_sets import StoredImages, read_parts
from pipelines.models import load_encoder
from pipelines.shards import Progress

MAX_PIXELS = 100_000_000

Floats = npt.NDArray[np.float32]


def reading(compute: ComputeConfig) -> dict[str, Any]:
    """How tasks run that read what is embedded: few, with other CPUs than an actor, or Ray would fuse both into one."""
    return {
        "batch_format": "pyarrow",
        "num_cpus": compute.worker_cpus / 2,
        "compute": ray.data.TaskPoolStrategy(size=compute.max_actors),
        "udf_modifying_row_count": True,
    }


def _silent(step: str, done: int, of: int) -> None:
    """No progress is shown."""


@dataclass(frozen=True)
class EmbeddedImages:
    """Unit vectors [n, d] in order, zeros for an image that did not decode, and bool [n], which did."""

    embeddings: torch.Tensor
    decoded: torch.Tensor


@dataclass(frozen=True)
class Embedded:
    """Images, file by file, and [m, d], the direction of each prompt list's mean."""

    images: list[EmbeddedImages]
    prompts: torch.Tensor


class Embed:
    """Holds a model; rows are images or lists of prompts, so that one load serves both."""

    def __init__(self, model: str, *, batch_rows: int, threads: int) -> None:
        torch.set_num_threads(threads)
        self._encoder = load_encoder(model)
        self._batch_rows = batch_rows

    @property
    def logit_scale(self) -> float:
        """By which similarities are multiplied before a softmax."""
        return self._encoder.logit_scale

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Columns `embedding` and `decoded` instead of `image` and `prompts`, of which one is null in each row."""
        is_image = batch["prompts"].is_null().to_numpy()
        embeddings = np.zeros((batch.num_rows, self._encoder.width), np.float32)
        decoded = np.ones(batch.num_rows, np.bool_)
        if is_image.any():
            images = batch["image"].filter(pa.array(is_image)).to_pylist()
            embeddings[is_image], decoded[is_image] = self.images(images)
        if not is_image.all():
            embeddings[~is_image] = self.prompts(batch["prompts"].filter(pa.array(~is_image)).to_pylist())
        rest = batch.drop_columns(["image", "prompts"]).append_column("decoded", pa.array(decoded))
        return rest.append_column("embedding", embedding_column(embeddings))

    def images(self, images: Sequence[bytes | None]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Unit vectors [n, d] and which images decoded; the others get zeros."""
        embeddings = np.zeros((len(images), self._encoder.width), np.float32)
        decoded = np.zeros(len(images), np.bool_)
        for start in range(0, len(images), self._batch_rows):
            some = images[start : start + self._batch_rows]
            made = [self._encoder.preprocessing.pixels(image or b"", max_pixels=MAX_PIXELS) for image in some]
            rows = [start + row for row, pixels in enumerate(made) if not isinstance(pixels, DropReason)]
            if rows:
                sound = np.stack([pixels for pixels in made if not isinstance(pixels, DropReason)])
                embeddings[rows] = self._encoder.images(sound).numpy()
                decoded[rows] = True
        return embeddings, decoded

    def prompts(self, lists: Sequence[Sequence[str]]) -> Floats:
        """[n, d]: of each list the direction of its embeddings' mean."""
        flat = [prompt for prompts in lists for prompt in prompts]
        starts = range(0, len(flat), self._batch_rows)
        embedded = torch.cat([self._encoder.texts(flat[start : start + self._batch_rows]) for start in starts])
        rows_of = torch.split(embedded, [len(prompts) for prompts in lists])
        means: Floats = torch.stack([mean_direction(rows) for rows in rows_of]).numpy()
        return means


class LocalEmbedder:
    """Embeds in this process: beside a training, which leaves no CPUs for a data set, or for a few images."""

    def __init__(self, model: str, *, batch_rows: int, threads: int) -> None:
        self._embed = Embed(model, batch_rows=batch_rows, threads=threads)

    @property
    def logit_scale(self) -> float:
        """By which similarities are multiplied before a softmax."""
        return self._embed.logit_scale

    def embed(
        self, files: Sequence[StoredImages], prompts: Sequence[Sequence[str]], *, progress: Progress = _silent
    ) -> Embedded:
        """All images of some files and all prompts."""
        images = []
        for done, file in enumerate(files):
            progress("embed", done, len(files))
            parts = [self._embed.images(part["image"].to_pylist()) for part in file.parts(range(len(file.part_rows)))]
            embeddings, decoded = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
            images.append(EmbeddedImages(torch.from_numpy(embeddings), torch.from_numpy(decoded)))
        return Embedded(images, self.prompts(prompts))

    def images(self, images: Sequence[bytes | None]) -> EmbeddedImages:
        """A few images."""
        embeddings, decoded = self._embed.images(images)
        return EmbeddedImages(torch.from_numpy(embeddings), torch.from_numpy(decoded))

    def prompts(self, prompts: Sequence[Sequence[str]]) -> torch.Tensor:
        """[n, d]: of each list the direction of its embeddings' mean."""
        return torch.from_numpy(self._embed.prompts(prompts)) if prompts else torch.zeros(0, 0)


class DataEmbedder:
    """Embeds through Ray Data, all images and prompts in one plan. Needs a Ray cluster."""

    def __init__(self, model: str, *, batch_rows: int, compute: ComputeConfig) -> None:
        self._model = model
        self._batch_rows = batch_rows
        self._compute = compute

    def embed(
        self, files: Sequence[StoredImages], prompts: Sequence[Sequence[str]], *, progress: Progress = _silent
    ) -> Embedded:
        """All images of some files and all prompts. A task reads a row group, and no image passes by the driver."""
        firsts = np.cumsum([0, *(file.num_images for file in files)]).tolist()
        rows = self._images(files, firsts)
        if prompts:
            texts = self._prompts(prompts, first=firsts[-1])
            rows = texts if rows is None else rows.union(texts)
        if rows is None:
            return Embedded([], torch.zeros(0, 0))
        table = self.apply(rows, total=firsts[-1] + len(prompts), progress=progress)
        embeddings = matrix(table)
        decoded = torch.from_numpy(table["decoded"].to_numpy().copy())
        images = [EmbeddedImages(embeddings[start:stop], decoded[start:stop]) for start, stop in pairwise(firsts)]
        return Embedded(images, embeddings[firsts[-1] :])

    def _images(self, files: Sequence[StoredImages], firsts: Sequence[int]) -> ray.data.Dataset | None:
        places = [(number, part) for number, file in enumerate(files) for part in range(len(file.part_rows))]
        if not places:
            return None
        table = pa.table({"file": [file for file, _ in places], "part": [part for _, part in places]})
        positions = ray.data.from_arrow(table, override_num_blocks=min(len(places), self._compute.shard_blocks))
        return positions.map_batches(
            partial(read_parts, files=files, firsts=firsts), batch_size=1, **reading(self._compute)
        )

    def _prompts(self, prompts: Sequence[Sequence[str]], *, first: int) -> ray.data.Dataset:
        lists = pa.array([list(of_row) for of_row in prompts], pa.list_(pa.string()))
        order = pa.array(range(first, first + len(prompts)), pa.int64())
        table = pa.table({"order": order, "image": pa.nulls(len(prompts), pa.binary()), "prompts": lists})
        return ray.data.from_arrow(table, override_num_blocks=-(-len(prompts) // self._batch_rows))

    def apply(self, rows: ray.data.Dataset, *, total: int, progress: Progress = _silent) -> pa.Table:
        """All rows with their embeddings, by their column order."""
        compute = self._compute
        embedded = rows.map_batches(
            Embed,
            fn_constructor_args=(self._model,),
            fn_constructor_kwargs={"batch_rows": self._batch_rows, "threads": compute.worker_threads},
            batch_format="pyarrow",
            batch_size=self._batch_rows,
            num_cpus=compute.worker_cpus,
            num_gpus=1 if compute.use_gpu else 0,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=compute.max_actors),
        )
        tables, done = [], 0
        progress("embed", 0, total)
        for table in embedded.iter_batches(batch_format="pyarrow", batch_size=None):
            tables.append(table)
            done += len(table)
            progress("embed", done, total)
        return pa.concat_tables(tables).sort_by("order")


def matrix(table: pa.Table) -> torch.Tensor:
    """The column `embedding` as float32 [n, width]."""
    column = table["embedding"].combine_chunks()
    return torch.from_numpy(column.flatten().to_numpy().reshape(len(column), -1).copy())


def embedding_column(embeddings: Floats) -> pa.FixedSizeListArray:
    """The inverse of `matrix`."""
    return pa.FixedSizeListArray.from_arrays(pa.array(embeddings.reshape(-1)), embeddings.shape[1])
