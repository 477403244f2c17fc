"""Captions of the same images in many languages: Crossmodal-3600, Flickr30k-200, XTD-10 and XTD-200."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from pipelines.converters.published import Converted, Options, Published, flores_languages, json_lines
from pipelines.errors import UserError

_NOTHING = pa.schema([])
_XTD10 = "test_1kcaptions_"
_XTD_FOLDERS = ("", "MIC/", "STAIR/")  # where XTD-10 keeps what other data sets lent it
_XTD_CODES = {"jp": "ja"}


def convert_xm3600(source: Published, options: Options) -> Converted:  # noqa: ARG001 - a converter's interface
    """`captions.jsonl`, and `images/` or `images.tgz`. All captions of an image. Raises UserError."""
    lines = list(json_lines(source.text("captions.jsonl")))
    languages = (
        [key for key, value in lines[0].items() if isinstance(value, dict) and "caption" in value] if lines else []
    )
    captions = {language: [line[language]["caption"] for line in lines] for language in languages}
    return _converted(source, "images", [f"{line['image/key']}.jpg" for line in lines], captions)


def convert_flickr30k_200(source: Published, options: Options) -> Converted:  # noqa: ARG001 - a converter's interface
    """`filenames.txt`, a file of captions for each of FLORES' languages, and `images/`. Raises UserError."""
    return _by_flores(source, "filenames.txt")


def convert_xtd_200(source: Published, options: Options) -> Converted:  # noqa: ARG001 - a converter's interface
    """`test_image_names.txt`, a file of captions for each of FLORES' languages, and `images/`. Raises UserError."""
    return _by_flores(source, "test_image_names.txt")


def convert_xtd_10(source: Published, options: Options) -> Converted:  # noqa: ARG001 - a converter's interface
    """`test_image_names.txt`, `test_1kcaptions_<language>.txt` of 11 languages, and `images/`. Raises UserError."""
    captions = {}
    for folder in _XTD_FOLDERS:
        for name in source.names(folder):
            if name.startswith(_XTD10) and name.endswith(".txt"):
                code = name.removeprefix(_XTD10).removesuffix(".txt")
                captions[_XTD_CODES.get(code, code)] = _one_each(source.text(folder + name))
    return _converted(source, "images", source.text("test_image_names.txt").split(), captions)


def _by_flores(source: Published, index: str) -> Converted:
    codes = [name.removesuffix(".txt") for name in source.names() if name.endswith(".txt") and name != index]
    languages = flores_languages(codes)
    captions = {languages[code]: _one_each(source.text(f"{code}.txt")) for code in codes}
    return _converted(source, "images", source.text(index).split(), captions)


def _one_each(text: str) -> list[list[str]]:
    return [[line] for line in text.rstrip("\n").split("\n")]


def _converted(
    source: Published, folder: str, paths: Sequence[str], captions: Mapping[str, Sequence[Sequence[str]]]
) -> Converted:
    if not captions:
        raise source.missing("a file of captions")
    for language, of_images in captions.items():
        if len(of_images) != len(paths):
            raise UserError(
                f"{source.uri}: {language} has captions of {len(of_images)} images, and there are {len(paths)}"
            )
    content = {"task": "retrieval", "captions": captions}
    return Converted(content, _NOTHING, [{} for _ in paths], source.images(folder, paths))
