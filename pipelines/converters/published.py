"""What converters share: files of a published benchmark, and the set that is written from them."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from metaclip_core.languages import OTHER, Namespace, metadata_language
from pipelines import storage
from pipelines.errors import UserError
from pipelines.evaluation_sets import CONTENT, IMAGES

_PART_ROWS = 256  # of a row group: what a task reads and embeds
_ARCHIVES = (".tgz", ".tar.gz", ".tar")


@dataclass(frozen=True)
class Options:
    """What a published folder does not say. URIs of JSON files; None: not given."""

    names: str | None = None  # class names: a list, or lists by language
    templates: str | None = None  # likewise, `{}` or `{c}` for the name
    key: str | None = None  # which data set of a file that holds several
    label: str = "object"  # what is to be told from an image: object or country


@dataclass(frozen=True)
class Converted:
    """What a converter gives: `dataset.json`, and of each image the columns of `images.parquet` beside it."""

    content: Mapping[str, Any]
    schema: pa.Schema  # of these columns
    rows: Sequence[Mapping[str, Any]]
    read: Callable[[], Iterator[bytes]]  # the images, in the order of the rows


@dataclass(frozen=True)
class Published:
    """The folder of a published benchmark."""

    uri: str
    where: str  # to get it

    def missing(self, what: str) -> UserError:
        """An error that says where to get what is missing."""
        return UserError(f"{what} is not in {self.uri}; get it from {self.where}")

    def content(self, path: str) -> bytes:
        """A file. Raises UserError."""
        try:
            return storage.read_bytes(storage.join(self.uri, path))
        except FileNotFoundError as error:
            raise self.missing(path) from error

    def text(self, path: str) -> str:
        """A file in UTF-8. Raises UserError."""
        return self.content(path).decode("utf-8-sig")

    def table(self, path: str, *columns: str) -> list[dict[str, str]]:
        """Rows of a CSV file. Raises UserError where there is none, or a column is missing."""
        rows = list(csv.DictReader(io.StringIO(self.text(path))))
        lacking = [column for column in columns if not rows or column not in rows[0]]
        if lacking:
            raise UserError(f"{self.uri}/{path} has no column {lacking[0]}, or no rows")
        return rows

    def names(self, path: str = "", *, below: bool = False) -> list[str]:
        """Paths of the files in a folder, relative to it, in order; `below`: at any depth."""
        filesystem, base = storage.resolve(storage.join(self.uri, path) if path else self.uri)
        selector = pafs.FileSelector(base, recursive=below, allow_not_found=True)
        return sorted(info.path[len(base) :].lstrip("/") for info in filesystem.get_file_info(selector) if info.is_file)

    def images(self, folder: str, paths: Sequence[str]) -> Callable[[], Iterator[bytes]]:
        """Reads images below `folder`, or from an archive `<folder>.tgz` beside it.

        Raises:
            UserError: there is neither, or images are missing.
        """
        there = set(self.names(folder, below=True))
        if there:
            self._check(folder, paths, there)
            return lambda: (self.content(f"{folder}/{path}" if folder else path) for path in paths)
        archives = [folder + suffix for suffix in _ARCHIVES if folder and folder + suffix in self.names()]
        if not archives:
            raise self.missing(folder or "an image")
        members = self._members(archives[0])
        self._check(archives[0], paths, set(members))
        return lambda: (members[path] for path in paths)

    def _members(self, archive: str) -> dict[str, bytes]:
        """The files of an archive by their names without folders: some thousand images, held at once."""
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(self.content(archive))) as opened:
            for member in opened:
                if member.isfile() and (file := opened.extractfile(member)) is not None:
                    found[member.name.rsplit("/", 1)[-1]] = file.read()
        return found

    def _check(self, place: str, paths: Sequence[str], there: set[str]) -> None:
        gone = [path for path in paths if path not in there]
        if gone:
            raise self.missing(f"{len(gone)} of {len(paths)} images of {place or 'the set'}, the first {gone[0]},")


def write_set(converted: Converted, uri: str) -> None:
    """Write a set: images in row groups, then `dataset.json`, which makes it one."""
    schema = pa.schema([("image", pa.binary()), *converted.schema])
    images = converted.read()
    with (
        storage.publishing(storage.join(uri, IMAGES)) as (filesystem, path),
        pq.ParquetWriter(path, schema, filesystem=filesystem, compression="zstd") as writer,
    ):
        for start in range(0, len(converted.rows), _PART_ROWS):
            rows = [{**row, "image": next(images)} for row in converted.rows[start : start + _PART_ROWS]]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    storage.write_json(storage.join(uri, CONTENT), converted.content)


def by_language(uri: str, key: str | None) -> dict[str, Any]:
    """A JSON file of names or templates: lists by language, or one list, which is English.

    Args:
        uri: of the file.
        key: of the part that is meant, where the file holds several data sets (as SLIP's and clip-benchmark's do).

    Raises:
        UserError: there is no such file or part.
    """
    try:
        content = storage.read_json(storage.absolute(uri))
    except FileNotFoundError as error:
        raise UserError(f"there is no file {uri}") from error
    except ValueError as error:
        raise UserError(f"{uri} is no JSON: {error}") from error
    if key is not None:
        if not isinstance(content, dict) or key not in content:
            raise UserError(f"{uri} has no part {key!r}")
        content = content[key]
    return content if isinstance(content, dict) else {"en": content}


def templates_for(languages: Iterable[str], options: Options, default: Sequence[str] = ("{}",)) -> dict[str, list[str]]:
    """Templates of each language; those that the file lacks have bare names. Without a file English has `default`."""
    given = by_language(options.templates, options.key) if options.templates else {"en": list(default)}
    spelt = {code.lower(): [text.replace("{c}", "{}") for text in texts] for code, texts in given.items()}
    return {language: spelt.get(language.lower()) or ["{}"] for language in languages}


def flores_languages(codes: Iterable[str]) -> dict[str, str]:
    """FLORES' codes → languages of the metadata; two codes that would be one keep their own names."""
    found = {code: metadata_language(code, namespace=Namespace.ISO639) for code in codes}
    taken = list(found.values())
    return {code: code if name == OTHER or taken.count(name) > 1 else name for code, name in found.items()}


def json_lines(text: str) -> Iterator[dict[str, Any]]:
    """A JSON object a line."""
    return (json.loads(line) for line in text.splitlines() if line.strip())
