"""Decoding: drawn pairs → training examples, once and behind the draw: pixels stay uint8, captions become token ids."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray

from metaclip_core.captions import CaptionEncoder, load_encoder
from metaclip_core.draws import Purpose, uniform
from metaclip_core.images import Crop, decode
from metaclip_core.records import DRAWN, DropReason, check, example_schema
from pipelines import storage
from pipelines.config import RunConfig

_CROP_NUMBERS = ("area", "aspect", "left", "top")


def decode_batch(
    drawn: pa.Table, encoder: CaptionEncoder, *, image_size: int, max_pixels: int, reduced: bool, seed: int
) -> pa.Table:
    """DRAWN in, EXAMPLE out; a row whose image fails becomes a tombstone. Pure; a crop depends on pair and epoch."""
    drawn = check(drawn, DRAWN, stage="decode")
    alive = pc.is_null(drawn["drop_reason"]).to_numpy()
    pixels: list[bytes | None] = [None] * drawn.num_rows
    input_ids: list[np.ndarray | None] = [None] * drawn.num_rows
    reasons = drawn["drop_reason"].to_pylist()
    rows = np.flatnonzero(alive)
    kept = drawn.take(pa.array(rows))
    crops = _crops(kept, seed=seed)
    for row, image, crop in zip(rows, kept["image"].to_pylist(), crops, strict=True):
        decoded = decode(image, image_size=image_size, max_pixels=max_pixels, crop=crop, reduced=reduced)
        if isinstance(decoded, DropReason):
            reasons[row] = decoded
        else:
            pixels[row] = decoded.tobytes()
    for row, ids in zip(rows, encoder.encode(kept["caption"].to_pylist()), strict=True):
        if reasons[row] is None:
            input_ids[row] = ids
    schema = example_schema(image_size)
    columns = {name: drawn[name] for name in schema.names if name in DRAWN.names}
    columns |= {
        "pixels": pa.array(pixels, schema.field("pixels").type),
        "input_ids": pa.array(input_ids, schema.field("input_ids").type),
        "drop_reason": pa.array(reasons, pa.string()),
    }
    return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def _crops(drawn: pa.Table, *, seed: int) -> list[Crop]:
    if not drawn.num_rows:
        return []
    epochs = drawn["epoch"].to_numpy().astype(np.int64)
    numbers = [
        uniform(drawn["pair_id"], purpose=f"{Purpose.CROP}/{name}", epoch=epochs, seed=seed) for name in _CROP_NUMBERS
    ]
    return [Crop(*row) for row in zip(*(column.tolist() for column in numbers), strict=True)]


class Decode:
    """Holds the tokenizer."""

    def __init__(
        self, tokenizer_uri: str, *, context_length: int, image_size: int, max_pixels: int, reduced: bool, seed: int
    ) -> None:
        with storage.local_copy(tokenizer_uri) as folder:
            self._encoder = load_encoder(folder, context_length=context_length)
        self._image_size = image_size
        self._max_pixels = max_pixels
        self._reduced = reduced
        self._seed = seed

    def __call__(self, drawn: pa.Table) -> pa.Table:
        """DRAWN in, EXAMPLE out."""
        return decode_batch(
            drawn,
            self._encoder,
            image_size=self._image_size,
            max_pixels=self._max_pixels,
            reduced=self._reduced,
            seed=self._seed,
        )


def apply_decode(
    drawn: ray.data.Dataset, config: RunConfig, *, tokenizer_uri: str, context_length: int, image_size: int
) -> ray.data.Dataset:
    """Drawn pairs → training examples. Lazy."""
    return drawn.map_batches(
        Decode,
        fn_constructor_args=(tokenizer_uri,),
        fn_constructor_kwargs={
            "context_length": context_length,
            "image_size": image_size,
            "max_pixels": config.feed.max_pixels,
            "reduced": config.feed.reduced_decode,
            "seed": config.seed,
        },
        batch_format="pyarrow",
        batch_size=config.feed.decode_rows,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.decode_actors),
        udf_modifying_row_count=False,
    )
