"""Small evaluation sets, and models to try on them."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from metaclip_core.model_folder import save_model
from tests.pictures import lossless
from tests.small_models import small_model, small_tokenizer

BROKEN = b"no image at all"


def picture(seed, *, width=24, height=20):
    """PNG bytes of noise."""
    return lossless(Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)))


def write_set(folder, content, *, row_group_size=4, **columns):
    """`folder` as a set, with a picture for each row unless `image` says otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = len(next(iter(columns.values())))
    columns.setdefault("image", [picture(row) for row in range(rows)])
    pq.write_table(pa.table(columns), folder / "images.parquet", row_group_size=row_group_size)
    (folder / "dataset.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return str(folder)


def write_model(folder, *, seed=5):
    """A small MetaCLIP 2 model's Hugging Face folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(small_model(seed).eval(), small_tokenizer(), folder)
    return str(folder)


def classification(**changes):
    """dataset.json of three classes, of which German lacks the last."""
    content = {
        "task": "classification",
        "classes": {"en": ["one", "two", "three"], "de": ["eins", ["zwei", "zwo"], None]},
        "templates": {"en": ["{}", "a {}"], "de": ["{}"]},
    }
    return content | changes
