"""Images in a folder for each class: ImageNet and what is laid out like it, with class names in any languages."""

from __future__ import annotations

import pyarrow as pa

from pipelines import storage
from pipelines.converters.published import Converted, Options, Published, by_language, templates_for
from pipelines.errors import UserError

_LABEL = pa.schema([("label", pa.int32())])


def convert_folders(source: Published, options: Options) -> Converted:
    """Class folders in the order of their names, as many as class names. Raises UserError."""
    if options.names is None:
        raise UserError("--names FILE is needed: class names in the order of the folders, a list or lists by language")
    classes = by_language(options.names, options.key)
    return _converted(source, {language: list(names) for language, names in classes.items()}, options)


def convert_babel(source: Published, options: Options) -> Converted:
    """ImageNet's folders with Babel-ImageNet's file: `{language: [[class numbers], [names]]}`. Raises UserError."""
    if options.names is None:
        raise UserError("--names FILE is needed: babel_imagenet.json of github.com/gregor-ge/Babel-ImageNet")
    num_classes = len(_folders(source))
    classes: dict[str, list[str | None]] = {}
    for code, pair in by_language(options.names, None).items():
        if len(pair) != 2 or len(pair[0]) != len(pair[1]) or not all(0 <= row < num_classes for row in pair[0]):  # noqa: PLR2004
            raise UserError(f"{options.names}: {code} is no pair of class numbers below {num_classes} and their names")
        named = dict(zip(*pair, strict=True))
        classes[code.lower()] = [named.get(row) for row in range(num_classes)]
    return _converted(source, classes, options)


def _folders(source: Published) -> list[str]:
    return sorted({path.split("/")[0] for path in source.names(below=True) if "/" in path})


def _converted(source: Published, classes: dict[str, list[str | None]], options: Options) -> Converted:
    folders = _folders(source)
    if not folders:
        raise source.missing("a folder for each class")
    for language, names in classes.items():
        if len(names) != len(folders):
            raise UserError(f"{source.uri} has {len(folders)} class folders, and {language} names {len(names)} classes")
    number = {folder: row for row, folder in enumerate(folders)}
    paths = [path for path in source.names(below=True) if "/" in path]
    content = {"task": "classification", "classes": classes, "templates": templates_for(classes, options)}
    rows = [{"label": number[path.split("/")[0]]} for path in paths]
    return Converted(content, _LABEL, rows, lambda: (storage.read_bytes(storage.join(source.uri, p)) for p in paths))
