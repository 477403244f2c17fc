"""The pool: its layout, and what of it is read."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import model_validator

from pipelines.config.base import Count, Section, Uri


class SampleConfig(Section):
    """The sample pool, where a recipe makes one."""

    num_images: Count = 20_000
    shard_rows: Count = 500
    seed: int = 0


class PoolFormat(StrEnum):
    """Layouts of a pool."""

    WEBDATASET = "webdataset"
    PARQUET = "parquet"


class ColumnsConfig(Section):
    """The columns of a parquet pool; null: it has none."""

    pair_id: str | None = None  # 24 hex digits, as an export has them; where a cell is none, the URL names the pair
    url: str | None = "url"
    captions: str = "captions"  # a string, a list of strings, or a list of structs of kind and text
    image: str | None = "image"  # its bytes; or image_path
    image_path: str | None = None  # of its file, relative to the pool
    key: str | None = None  # names a pair without a URL; null: its row does

    @model_validator(mode="after")
    def _one_image(self) -> Self:
        if (self.image is None) == (self.image_path is None):
            raise ValueError("give one of image and image_path, and set the other to null")
        return self


class PoolConfig(Section):
    """The raw pairs, and what of them is read."""

    name: str = "pool"
    uri: Uri = "pool"  # a folder of shards; relative to the root
    format: PoolFormat = PoolFormat.WEBDATASET
    columns: ColumnsConfig = ColumnsConfig()  # of a parquet pool
    max_image_bytes: Count = 20_000_000
    max_metadata_bytes: Count = 1_000_000
    max_caption_chars: Count = 5_000
