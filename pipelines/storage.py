"""Where everything lies: all URIs are made here, and files are written aside before they appear.

Anything that pyarrow's file systems read works as a root: a local path, `file://`, `s3://` (credentials and endpoint
from the environment), `gs://`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from pipelines.errors import UserError
from pipelines.steady import SteadyFile
from pipelines.stores import holds_keys, open_store

_PIECE = 8 << 20  # bytes of a copy held at once
_COPIES = 4  # files copied at once


def absolute(uri: str, *, base: str = "") -> str:
    """`uri` as an absolute one: schemes stay, `~` is expanded, and relative paths are taken from `base`."""
    if "://" in uri:
        return uri.rstrip("/")
    path = Path(uri).expanduser()
    if not path.is_absolute() and base:
        return join(absolute(base), uri)
    return str(path.resolve())


def join(uri: str, *parts: str) -> str:
    """`uri` with path components appended."""
    return "/".join([uri.rstrip("/"), *(part.strip("/") for part in parts)])


def resolve(uri: str) -> tuple[pafs.FileSystem, str]:
    """File system and path of a URI.

    Raises:
        UserError: no file system answers to its scheme, or it holds keys.
    """
    if holds_keys(uri):
        raise UserError("a URI holds keys or a password: give them in the environment, where nothing records them")
    try:
        filesystem, path = open_store(absolute(uri))
    except (pa.ArrowInvalid, OSError, ValueError) as error:
        raise UserError(f"cannot open {uri}: {first_line(error)}") from error
    return filesystem, path


def first_line(error: BaseException) -> str:
    """The first line of an error's message, for a message of one sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def exists(uri: str) -> bool:
    """Whether a file or folder is there.

    Raises:
        UserError: the store does not answer.
    """
    filesystem, path = resolve(uri)
    try:
        return bool(filesystem.get_file_info(path).type != pafs.FileType.NotFound)
    except OSError as error:
        raise UserError(f"the store of {uri} does not answer: {first_line(error)}") from error


@dataclass(frozen=True)
class FileStamp:
    """What tells a file from a later one at the same place without reading it."""

    size: int
    mtime_ns: int


def stamp(uri: str) -> FileStamp:
    """Size and time of a file.

    Raises:
        UserError: there is no such file, or the store does not answer.
    """
    filesystem, path = resolve(uri)
    try:
        info = filesystem.get_file_info(path)
    except OSError as error:
        raise UserError(f"the store of {uri} does not answer: {first_line(error)}") from error
    if not info.is_file:
        raise UserError(f"there is no file {uri}")
    return FileStamp(info.size, info.mtime_ns or 0)


def list_names(uri: str) -> set[str]:
    """The names of the files in a folder; empty when there is none."""
    return set(list_sizes(uri))


def list_sizes(uri: str) -> dict[str, int]:
    """The files in a folder, by name: bytes; empty when there is none."""
    filesystem, path = resolve(uri)
    infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return {info.base_name: info.size for info in infos if info.is_file}


@contextmanager
def publishing(uri: str) -> Iterator[tuple[pafs.FileSystem, str]]:
    """A path to write to, which becomes `uri` when the block ends without an error; atomic.

    In an object store too the file is written aside: a writer closes its stream when an error passes by, and what was
    uploaded until then would stand there as the whole file.
    """
    filesystem, path = resolve(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        filesystem.create_dir(str(Path(path).parent), recursive=True)
    aside = f"{path}.{uuid.uuid4().hex}.partial"
    try:
        yield filesystem, aside
        filesystem.move(aside, path)
    finally:
        if filesystem.get_file_info(aside).type != pafs.FileType.NotFound:
            filesystem.delete_file(aside)


def write_bytes(uri: str, data: bytes) -> None:
    """Publish a small file."""
    with publishing(uri) as (filesystem, path), filesystem.open_output_stream(path) as stream:
        stream.write(data)


def read_bytes(uri: str) -> bytes:
    """A whole file. Raises FileNotFoundError."""
    with SteadyFile(*resolve(uri)) as file:
        return file.read_at(file.size, 0)


def write_json(uri: str, content: Any) -> None:  # noqa: ANN401 - any JSON
    """Publish a JSON file."""
    write_bytes(uri, json.dumps(content, indent=1, ensure_ascii=False).encode())


def read_json(uri: str) -> Any:  # noqa: ANN401 - any JSON
    """A JSON file. Raises FileNotFoundError."""
    return json.loads(read_bytes(uri))


def write_table(uri: str, table: pa.Table) -> None:
    """Publish a parquet file."""
    with publishing(uri) as (filesystem, path):
        pq.write_table(table, path, filesystem=filesystem, compression="zstd")


def read_table(uri: str, *, columns: list[str] | None = None) -> pa.Table:
    """A parquet file, or some columns of it. Raises FileNotFoundError."""
    with SteadyFile(*resolve(uri)) as file:
        return pq.ParquetFile(file).read(columns=columns)


def upload_folder(folder: Path, uri: str) -> None:
    """Copy a local folder's files to `uri`."""
    filesystem, path = resolve(uri)
    filesystem.create_dir(path, recursive=True)
    pafs.copy_files(str(folder), path, source_filesystem=pafs.LocalFileSystem(), destination_filesystem=filesystem)


@contextmanager
def local_copy(uri: str) -> Iterator[Path]:
    """A temporary local folder with the files below `uri`."""
    filesystem, path = resolve(uri)
    infos = filesystem.get_file_info(pafs.FileSelector(path, recursive=True))
    files = [info.path for info in infos if info.is_file]
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        with ThreadPoolExecutor(_COPIES) as threads:
            list(threads.map(lambda file: _copy(filesystem, file, folder / file[len(path) :].lstrip("/")), files))
        yield folder


@contextmanager
def local_file(uri: str) -> Iterator[Path]:
    """A local path with the content of one file: its own where it is local, else that of a temporary copy.

    Raises FileNotFoundError.
    """
    filesystem, path = resolve(uri)
    if isinstance(filesystem, pafs.LocalFileSystem):
        yield Path(path)
        return
    with tempfile.TemporaryDirectory(prefix="metaclip-") as folder:
        copy = Path(folder) / Path(path).name
        _copy(filesystem, path, copy)
        yield copy


def _copy(filesystem: pafs.FileSystem, path: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with SteadyFile(filesystem, path) as source, target.open("wb") as sink:
        shutil.copyfileobj(source, sink, _PIECE)


def version_of(stage: str, revision: int, **made_from: Any) -> str:  # noqa: ANN401 - any JSON
    """The name of an artefact: a hash of all that it was made from.

    Args:
        stage: the stage that makes it.
        revision: the stage's REVISION, raised when a fix changes results.
        made_from: configuration and versions, as JSON values.
    """
    content = json.dumps([stage, revision, made_from], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Layout:
    """The places under one root. Methods that take a version give a folder, published by its last file."""

    root: str

    def _place(self, *parts: str) -> str:
        return join(absolute(self.root), *parts)

    def manifest(self, pool: str) -> str:
        """The pool's append-only list of shards."""
        return self._place("pools", pool, "manifest.parquet")

    def metadata(self, version: str) -> str:
        """Entry lists and their manifest."""
        return self._place("metadata", version)

    def metadata_name(self, name: str) -> str:
        """The file that says which version a name stands for."""
        return self._place("metadata", f"{name}.json")

    def metadata_counts(self, version: str) -> str:
        """What a file, or a language, gave to metadata; may be removed when they are built."""
        return self._place("metadata-counts", version)

    def annotations(self, version: str) -> str:
        """One file for each shard."""
        return self._place("annotations", version)

    def scores(self, version: str) -> str:
        """One file for each shard."""
        return self._place("scores", version)

    def screens(self, version: str) -> str:
        """One file for each shard."""
        return self._place("screens", version)

    def duplicates(self, version: str) -> str:
        """One file for each shard that has duplicates, and `manifest.json`."""
        return self._place("duplicates", version)

    def hashes(self, version: str) -> str:
        """How images look: one file for each shard."""
        return self._place("hashes", version)

    def near(self, version: str) -> str:
        """One file for each shard that has near-duplicates, `captions/` for what keepers get, and `manifest.json`."""
        return self._place("near", version)

    def contamination(self, version: str) -> str:
        """Pairs that are near a benchmark: one file for each shard that has any."""
        return self._place("contamination", version)

    def counts(self, version: str) -> str:
        """`counts.parquet`, then `funnel.json`."""
        return self._place("counts", version)

    def sample(self, version: str) -> str:
        """`sample.parquet`: annotations of some pairs, each with its chance of standing there."""
        return self._place("samples", version)

    def thresholds(self, version: str) -> str:
        """`thresholds.json`."""
        return self._place("thresholds", version)

    def export(self, version: str) -> str:
        """`export.json`, then `pairs/` with a file for some shards each and `funnels/`, then `funnel.json`."""
        return self._place("exports", version)

    def runs(self) -> str:
        """Ray Train's storage: trusted, for Ray pickles there."""
        return self._place("runs")

    def sweep(self, name: str) -> str:
        """One sweep: `sweep.json`, `points/`, `outcomes/`, what was made of them, and Tune's own folder."""
        return self._place("sweeps", name)

    def run(self, name: str) -> str:
        """One training run: checkpoints, `run.json`, tokenizer."""
        return self._place("runs", name)

    def model(self, name: str) -> str:
        """A Hugging Face folder."""
        return self._place("models", name)

    def crawl_file(self, version: str) -> str:
        """The links of one file of a crawl."""
        return self._place("files", f"{version}.parquet")

    def links(self, version: str) -> str:
        """The link table of a crawl in parts, then `funnel.json`."""
        return self._place("links", version)

    def class_names(self, version: str) -> str:
        """Embeddings of a language's classes by one model; may be removed."""
        return self._place("class-names", f"{version}.parquet")

    def pool_embeddings(self, version: str) -> str:
        """Embeddings of some images of a pool by one model, with their captions; may be removed."""
        return self._place("pool-embeddings", f"{version}.parquet")

    def evaluations(self) -> str:
        """What models were found to be worth: one file for each."""
        return self._place("evaluations")

    def report(self, name: str) -> str:
        """`index.html`, for a data card also `card.json`."""
        return self._place("reports", name)


def shard_file(folder: str, shard: int) -> str:
    """The file of one shard in a folder that holds one for each."""
    return join(folder, f"{shard:08d}.parquet")
