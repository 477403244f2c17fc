"""Evaluation sets: folders of one format, whatever layout a benchmark was published in.

`images.parquet` holds a row for each image: `image`, its encoded bytes, and what its task asks for beside it.
`dataset.json` names the task and holds class names and templates, captions or questions, per language.
`metaclip convert-set` writes such folders; `tasks` says what each task needs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.steady import SteadyFile

CONTENT = "dataset.json"
IMAGES = "images.parquet"
MEAN = "mean"  # over languages
_PART_ROWS = 256  # of a table that is read, at most


def metric_name(dataset: str, language: str, measure: str) -> str:
    """The name of a measure in the record."""
    return f"eval/{dataset}/{language}/{measure}"


@dataclass(frozen=True)
class StoredImages:
    """A parquet file with a column image."""

    uri: str
    part_rows: tuple[int, ...]  # rows of each row group

    @classmethod
    def open(cls, uri: str) -> StoredImages:
        """Raises UserError when there is no such file, or no image in it."""
        try:
            with SteadyFile(*storage.resolve(uri)) as file:
                metadata = pq.ParquetFile(file).metadata
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise UserError(f"{uri} is missing, or no parquet file") from error
        names = metadata.schema.to_arrow_schema().names
        if "image" not in names or not metadata.num_rows:
            raise UserError(f"{uri} holds no images: its columns are {', '.join(names)}")
        return cls(uri, tuple(metadata.row_group(part).num_rows for part in range(metadata.num_row_groups)))

    @property
    def num_images(self) -> int:
        """Rows."""
        return sum(self.part_rows)

    def column(self, name: str) -> list[Any]:
        """A column beside the images. Raises UserError when there is none."""
        table = storage.read_table(self.uri, columns=[name])
        if name not in table.column_names:
            raise UserError(f"{self.uri} has no column {name}")
        values: list[Any] = table[name].to_pylist()
        return values

    def parts(self, numbers: Iterable[int]) -> Iterator[pa.Table]:
        """Images and `order`, their rows' numbers, of some row groups, in tables that are small in memory."""
        with SteadyFile(*storage.resolve(self.uri)) as file:
            parquet = pq.ParquetFile(file)
            for number in numbers:
                order = sum(self.part_rows[:number])
                for batch in parquet.iter_batches(batch_size=_PART_ROWS, row_groups=[number], columns=["image"]):
                    rows = pa.array(range(order, order + batch.num_rows), pa.int64())
                    yield pa.table({"image": batch.column("image"), "order": rows})
                    order += batch.num_rows


def read_parts(batch: pa.Table, *, files: Sequence[StoredImages], firsts: Sequence[int]) -> Iterator[pa.Table]:
    """Row groups, columns file and part, as rows to embed; stands here, for who reads needs no model's libraries."""
    for place in batch.to_pylist():
        for part in files[place["file"]].parts([place["part"]]):
            yield image_rows(part["image"], pc.add(part["order"], firsts[place["file"]]))


def image_rows(images: pa.ChunkedArray, order: pa.ChunkedArray) -> pa.Table:
    """Images as rows that `embed.Embed` takes."""
    prompts = pa.nulls(len(images), pa.list_(pa.string()))
    return pa.table({"order": order, "image": images, "prompts": prompts})


@dataclass(frozen=True)
class EvaluationSet:
    """One benchmark."""

    name: str
    uri: str
    content: dict[str, Any]
    images: StoredImages

    @classmethod
    def load(cls, uri: str) -> EvaluationSet:
        """Raises UserError when the folder holds no evaluation set."""
        try:
            content = storage.read_json(storage.join(uri, CONTENT))
        except FileNotFoundError as error:
            raise UserError(
                f"no evaluation set at {uri}: it holds no {CONTENT}; `metaclip convert-set` makes one of a published "
                "benchmark, and says where to get it"
            ) from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"{uri}/{CONTENT} is no JSON: {error}") from error
        if not isinstance(content, dict):
            raise UserError(f"{uri}/{CONTENT} is no JSON object")
        return cls(uri.rsplit("/", 1)[-1], uri, content, StoredImages.open(storage.join(uri, IMAGES)))

    def wrong(self, problem: str) -> UserError:
        """An error that says what is wrong with the set."""
        return UserError(f"evaluation set {self.name} at {self.uri}: {problem}")


def load_sets(config: RunConfig) -> list[EvaluationSet]:
    """The recipe's evaluation sets. Raises UserError, as `EvaluationSet.load`."""
    return [EvaluationSet.load(storage.absolute(uri, base=config.root)) for uri in config.evaluation.sets]
