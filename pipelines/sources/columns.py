"""What a parquet pool's columns may be, and how a cell becomes text.

Text is read as bytes and decoded here, so that a cell that is no UTF-8 costs its caption and not its file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.types as pat

from pipelines.config.pool import ColumnsConfig

DEFAULT_KIND = "alt"
_KINDS = ("kind", "type")  # names of the field that says where a caption comes from
_TEXT = "text"


def find_problem(columns: ColumnsConfig, schema: pa.Schema) -> str | None:
    """Why pairs can't be read from a file with this schema, naming the column; None when they can."""
    for role, (fits, takes) in _ROLES.items():
        name = getattr(columns, role)
        if name is None:
            continue
        index = schema.get_field_index(name)
        if index < 0:
            return f"no column {name!r}, which pool.columns.{role} names; it has {', '.join(schema.names)}"
        if not fits(schema.field(index).type):
            return f"a column {name!r} of type {schema.field(index).type}; pool.columns.{role} takes {takes}"
    return None


def as_bytes(table: pa.Table) -> pa.Table:
    """The table with all its text as the bytes that the file holds."""
    return table.cast(pa.schema([field.with_type(_bytes_type(field.type)) for field in table.schema]))


def decoded(value: bytes | None) -> str | None:
    """Bytes that are no UTF-8 become U+FFFD, which no usable caption holds."""
    return None if value is None else value.decode("utf-8", "replace")


def raw_captions(cell: Any) -> list[tuple[str | None, str | None]]:  # noqa: ANN401 - of any type that fits
    """Kind and text of each caption in a cell of `as_bytes`."""
    if cell is None:
        return []
    return [_raw_caption(item) for item in (cell if isinstance(cell, list) else [cell])]


def _raw_caption(item: bytes | dict[str, bytes | None] | None) -> tuple[str | None, str | None]:
    if isinstance(item, dict):
        kind = next(item[name] for name in _KINDS if name in item)
        return decoded(kind), decoded(item[_TEXT])
    return DEFAULT_KIND, decoded(item)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pat.is_string(kind) or pat.is_large_string(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pat.is_list(kind) or pat.is_large_list(kind))


def _is_caption(kind: pa.DataType) -> bool:
    if not pat.is_struct(kind):
        return _is_text(kind)
    names = [kind.field(index).name for index in range(kind.num_fields)]
    kinds = [name for name in _KINDS if name in names]
    return len(kinds) == 1 and _TEXT in names and all(_is_text(kind.field(name).type) for name in (*kinds, _TEXT))


def _is_captions(kind: pa.DataType) -> bool:
    return _is_caption(kind.value_type) if _is_list(kind) else _is_text(kind)


def _is_key(kind: pa.DataType) -> bool:
    return _is_text(kind) or bool(pat.is_integer(kind))


def _is_image(kind: pa.DataType) -> bool:
    return bool(pat.is_binary(kind) or pat.is_large_binary(kind))


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    if pat.is_string(kind):
        return pa.binary()
    if pat.is_large_string(kind):
        return pa.large_binary()
    if _is_list(kind):
        make = pa.list_ if pat.is_list(kind) else pa.large_list
        return make(kind.value_field.with_type(_bytes_type(kind.value_type)))
    if pat.is_struct(kind):
        fields = (kind.field(index) for index in range(kind.num_fields))
        return pa.struct([field.with_type(_bytes_type(field.type)) for field in fields])
    return kind


_ROLES: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
    "pair_id": (_is_text, "strings"),
    "url": (_is_text, "strings"),
    "captions": (_is_captions, "strings, lists of strings, or lists of structs of kind and text"),
    "image": (_is_image, "binary"),
    "image_path": (_is_text, "strings"),
    "key": (_is_key, "strings or integers"),
}
