"""CVQA: questions about a culture's images in its own language and in English, as published in parquet files."""

from __future__ import annotations

import ast
import io

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.converters.published import Converted, Options, Published
from pipelines.errors import UserError

_SCHEMA = pa.schema([("label", pa.int32()), ("language", pa.string())])
_COLUMNS = ["image", "Subset", "Question", "Translated Question", "Options", "Translated Options", "Label"]


def convert_cvqa(source: Published, options: Options) -> Converted:  # noqa: ARG001 - a converter's interface
    """`*.parquet`, also in `data/`. A language is one of a country. Raises UserError."""
    folder = "data/" if source.names("data") else ""
    names = [folder + name for name in source.names(folder) if name.endswith(".parquet")]
    if not names:
        raise source.missing("a parquet file")
    tables = []
    for name in names:
        file = pq.ParquetFile(io.BytesIO(source.content(name)))
        lacking = [column for column in _COLUMNS if column not in file.schema_arrow.names]
        if lacking:
            raise UserError(f"{source.uri}/{name} has no column {lacking[0]}")
        tables.append(file.read(columns=_COLUMNS))
    rows = [row for table in tables for row in table.drop_columns("image").to_pylist()]
    withheld = sum(row["Label"] < 0 for row in rows)
    if withheld:
        raise UserError(
            f"{source.uri} withholds {withheld} of {len(rows)} answers (label -1): get a release that has them"
        )
    questions = {
        form: [{"question": row[f"{prefix}Question"], "options": row[f"{prefix}Options"]} for row in rows]
        for form, prefix in [("local", ""), ("english", "Translated ")]
    }
    columns = [{"label": row["Label"], "language": _language(row["Subset"])} for row in rows]
    return Converted(
        {"task": "multiple-choice", "questions": questions},
        _SCHEMA,
        columns,
        lambda: (image["bytes"] for table in tables for image in table["image"].to_pylist()),
    )


def _language(subset: str) -> str:
    """`('Spanish', 'Mexico')` → spanish-mexico."""
    try:
        parts = ast.literal_eval(subset)
    except (ValueError, SyntaxError):
        parts = [subset]
    return "-".join(str(part).lower().replace(" ", "_").replace("/", "_") for part in parts)
