"""Benchmarks that are a table beside a folder of images: Dollar Street, GeoDE and Google Landmarks v2.

Dollar Street and GeoDE also ask where an image is from (`Options.label` country): a few-shot set of 5, 10 and 25 shots.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from pipelines.converters.published import Converted, Options, Published, by_language, templates_for
from pipelines.errors import UserError

SHOTS = (5, 10, 25)
_PHOTO = ("a photo of a {}.",)
_LABEL = pa.schema([("label", pa.int32())])
_LABELS = pa.schema([("labels", pa.list_(pa.int32()))])
_SPLIT = pa.schema([("label", pa.int32()), ("split", pa.string())])

_STREET_TEST, _STREET_TRAIN = "images_v2_imagenet_test.csv", "images_v2_imagenet_train.csv"
_STREET_LABELS, _STREET_PATH, _STREET_COUNTRY = "imagenet_sysnet_id", "imageRelPath", "country.id"
_GEODE_PATHS, _GEODE_OBJECTS, _GEODE_COUNTRY = ("file_path", "file_name"), ("object", "script_name"), "ip_country"
_LANDMARK_SOLUTION, _LANDMARK_NAMES = "recognition_solution_v2.1.csv", "train_label_to_category.csv"


def convert_dollar_street(source: Published, options: Options) -> Converted:
    """Objects: every image has some of ImageNet's classes, of which one is enough. Raises UserError."""
    if options.label == "country":
        tables = {"train": source.table(_STREET_TRAIN, _STREET_PATH, _STREET_COUNTRY)}
        tables["test"] = source.table(_STREET_TEST, _STREET_PATH, _STREET_COUNTRY)
        rows = [
            (row[_STREET_PATH], row[_STREET_COUNTRY], split) for split, of_split in tables.items() for row in of_split
        ]
        return _countries(source, "", rows)
    if options.names is None:
        raise UserError("--names FILE is needed: ImageNet's 1,000 class names in order, for labels are its numbers")
    table = source.table(_STREET_TEST, _STREET_PATH, _STREET_LABELS)
    classes = by_language(options.names, options.key)
    try:
        labels = [[int(label) for label in ast.literal_eval(row[_STREET_LABELS])] for row in table]
    except (ValueError, SyntaxError, TypeError) as error:
        raise UserError(f"{source.uri}/{_STREET_TEST}: {_STREET_LABELS} holds what is no list of numbers") from error
    content = {
        "task": "classification",
        "multi_label": True,
        "classes": classes,
        "templates": templates_for(classes, options, _PHOTO),
    }
    rows_of = [{"labels": of_image} for of_image in labels]
    return Converted(content, _LABELS, rows_of, source.images("", [row[_STREET_PATH] for row in table]))


def convert_geode(source: Published, options: Options) -> Converted:
    """Objects of 40 kinds, named as the table names them unless there is a file of names. Raises UserError."""
    table = source.table("index.csv")
    path = _first_of(source, table, _GEODE_PATHS)
    if options.label == "country":
        country = _first_of(source, table, (_GEODE_COUNTRY,))
        rows = [(row[path], row[country], _half(row[path])) for row in table]
        return _countries(source, "images", rows)
    column = _first_of(source, table, _GEODE_OBJECTS)
    kinds = sorted({row[column] for row in table})
    classes = _named(options, [kind.replace("_", " ") for kind in kinds])
    rows_of = [{"label": kinds.index(row[column])} for row in table]
    content = {"task": "classification", "classes": classes, "templates": templates_for(classes, options, _PHOTO)}
    return Converted(content, _LABEL, rows_of, source.images("images", [row[path] for row in table]))


def convert_landmarks(source: Published, options: Options) -> Converted:
    """Test images that show a landmark, among the landmarks that any of them shows. Raises UserError."""
    table = [row for row in source.table(_LANDMARK_SOLUTION, "id", "landmarks") if row["landmarks"].strip()]
    named = {
        row["landmark_id"]: unquote(row["category"].rsplit("Category:", 1)[-1]).replace("_", " ")
        for row in source.table(_LANDMARK_NAMES, "landmark_id", "category")
    }
    landmarks = sorted({landmark for row in table for landmark in row["landmarks"].split()}, key=int)
    nameless = [landmark for landmark in landmarks if landmark not in named]
    if nameless:
        raise UserError(
            f"{source.uri}/{_LANDMARK_NAMES} does not name {len(nameless)} landmarks, the first {nameless[0]}"
        )
    place = {landmark: row for row, landmark in enumerate(landmarks)}
    rows = [{"labels": [place[landmark] for landmark in row["landmarks"].split()]} for row in table]
    classes = _named(options, [named[landmark] for landmark in landmarks])
    content = {
        "task": "classification",
        "multi_label": True,
        "classes": classes,
        "templates": templates_for(classes, options),
    }
    paths = [f"{i[0]}/{i[1]}/{i[2]}/{i}.jpg" for i in (row["id"] for row in table)]
    return Converted(content, _LABELS, rows, source.images("test", paths))


def _countries(source: Published, folder: str, rows: Sequence[tuple[str, str, str]]) -> Converted:
    """Few shots of each country; `rows` are (path, country, split). Countries that are only tested are left out."""
    taught = {country for _, country, split in rows if split == "train"}
    kept = [row for row in rows if row[1] in taught]
    countries = sorted(taught)
    content: Mapping[str, Any] = {"task": "few-shot", "shots": list(SHOTS), "classes": {"en": countries}}
    columns = [{"label": countries.index(country), "split": split} for _, country, split in kept]
    return Converted(content, _SPLIT, columns, source.images(folder, [path for path, _, _ in kept]))


def _half(path: str) -> str:
    """The split of an image of a table that has none: a hash of its name decides."""
    return "train" if hashlib.sha256(path.encode()).digest()[0] % 2 else "test"


def _first_of(source: Published, table: Sequence[Mapping[str, str]], columns: Sequence[str]) -> str:
    found = [column for column in columns if table and column in table[0]]
    if not found:
        raise UserError(f"{source.uri}/index.csv has no column {' or '.join(columns)}, or no rows")
    return found[0]


def _named(options: Options, english: Sequence[str]) -> dict[str, Any]:
    return by_language(options.names, options.key) if options.names else {"en": list(english)}
