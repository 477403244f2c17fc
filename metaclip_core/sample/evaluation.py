"""Evaluation sets of the sample: numbers put together from scans that the pool does not hold."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metaclip_core.sample.carriers import CARRIERS, evaluation_templates
from metaclip_core.sample.digits import NUM_DIGITS, NumberImage, draw_number, render, split_scans
from metaclip_core.sample.samples import encode_png
from metaclip_core.sample.seeding import Purpose, generator
from metaclip_core.sample.words import NUM_NUMBERS, number_words

IMAGES = pa.schema([("image", pa.binary()), ("image_id", pa.string()), ("label", pa.int32())])
_IMAGES_PER_NUMBER = 10
_CAPTIONS_PER_IMAGE = 2


def evaluation_files(seed: int) -> dict[str, bytes]:
    """Path below `evaluation/` → bytes: `images.parquet` and `dataset.json` of each set.

    numbers-10: zero-shot classification of every held-out scan, 0 to 9. numbers-100: zero-shot classification, ten
    images a number. numbers-retrieval: one image a number, with two captions in each carrier language.
    """
    held_out = split_scans(seed).held_out
    digits = [
        (NumberImage(render((scan,), _rng(seed, "numbers-10", scan)), (scan,)), digit)
        for digit, scans in enumerate(held_out.ids_by_digit)
        for scan in scans
    ]
    labels = [number for number in range(NUM_NUMBERS) for _ in range(_IMAGES_PER_NUMBER)]
    hundred = [(draw_number(label, held_out, _rng(seed, "numbers-100", i)), label) for i, label in enumerate(labels)]
    single = [(draw_number(n, held_out, _rng(seed, "numbers-retrieval", n)), n) for n in range(NUM_NUMBERS)]
    return {
        "numbers-10/images.parquet": _images(digits),
        "numbers-10/dataset.json": _classification("numbers-10", num_classes=NUM_DIGITS),
        "numbers-100/images.parquet": _images(hundred),
        "numbers-100/dataset.json": _classification("numbers-100", num_classes=NUM_NUMBERS),
        "numbers-retrieval/images.parquet": _images(single),
        "numbers-retrieval/dataset.json": _retrieval("numbers-retrieval"),
    }


_SETS = ("numbers-10", "numbers-100", "numbers-retrieval")


def _rng(seed: int, name: str, index: int) -> np.random.Generator:
    return generator(seed, Purpose.EVALUATION, index * len(_SETS) + _SETS.index(name))


def _images(labelled: Sequence[tuple[NumberImage, int]]) -> bytes:
    """Parquet of IMAGES. An image is named by its row and its scans."""
    columns = {
        "image": [encode_png(drawn) for drawn, _ in labelled],
        "image_id": ["-".join(map(str, (row, *drawn.scans))) for row, (drawn, _) in enumerate(labelled)],
        "label": [label for _, label in labelled],
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=IMAGES), buffer)
    return buffer.getvalue()


def _classification(name: str, *, num_classes: int) -> bytes:
    return _json(
        {
            "task": "classification",
            "name": name,
            "classes": {language: list(number_words()[language][:num_classes]) for language in CARRIERS},
            "templates": {language: evaluation_templates(language) for language in CARRIERS},
        }
    )


def _retrieval(name: str) -> bytes:
    captions: dict[str, list[list[str]]] = {}
    for language in CARRIERS:
        templates = evaluation_templates(language)
        captions[language] = [
            [templates[(number + i) % len(templates)].format(word) for i in range(_CAPTIONS_PER_IMAGE)]
            for number, word in enumerate(number_words()[language])
        ]
    return _json({"task": "retrieval", "name": name, "captions": captions})


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False, indent=1).encode()
