"""A tar archive as a stream of members that survives what the web does to archives.

`tarfile` stops in silence at a bad header and raises at a cut; here a bad header costs its block, a cut costs what
stands behind it, and both are told. Memory is one member.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any

_PIECE = 1 << 20


class Fault(Enum):
    """What is wrong with an archive, beside its members."""

    BAD_HEADER = "a run of blocks that are no header"
    TRUNCATED = "the archive ends inside a member, or without its closing block"


@dataclass(frozen=True)
class Member:
    """A regular file of an archive; `data` is None where `wanted` declined it."""

    name: str
    offset: int  # of the data in the archive
    length: int
    data: bytes | None


class _EndOfStreamError(Exception):
    """Fewer bytes are left than a block or a member needs."""


class _Counted:
    def __init__(self, stream: IO[bytes] | Any) -> None:  # noqa: ANN401 - pyarrow's streams are untyped
        self._stream = stream
        self.offset = 0

    def read(self, length: int) -> bytes:
        data = self._stream.read(length)
        self.offset += len(data)
        if len(data) < length:
            raise _EndOfStreamError
        return bytes(data)

    def skip(self, length: int) -> None:
        while length:
            piece = min(length, _PIECE)
            self.read(piece)
            length -= piece


def read_members(
    stream: IO[bytes] | Any,  # noqa: ANN401 - pyarrow's streams are untyped
    *,
    wanted: Callable[[str, int], bool],
) -> Iterator[Member | Fault]:
    """Members and faults of an archive in order; ends at the archive's end and never raises for its content.

    Args:
        stream: readable bytes, not compressed; read once, to its end or to the closing block.
        wanted: (name, length) → whether the member's data is to be held.
    """
    source = _Counted(stream)
    extended: dict[str, str] = {}
    in_sequence, blank = True, False
    try:
        while True:
            block = source.read(tarfile.BLOCKSIZE)
            blank = not block.strip(b"\0")
            if blank and in_sequence:  # else it may be data of the member whose header is bad
                return
            header = _parse(block)
            if header is None:
                if in_sequence:
                    yield Fault.BAD_HEADER
                in_sequence, extended = False, {}
                continue
            in_sequence = True
            length = _length(header, extended)
            offset, padding = source.offset, -length % tarfile.BLOCKSIZE
            if header.type in _EXTENSIONS and length <= _PIECE:
                extended |= _extension(header.type, source.read(length))
                source.skip(padding)
                continue
            name = extended.get("path", header.name)
            extended = {}
            if header.isreg() and wanted(name, length):
                data = source.read(length)
                yield Member(name, offset, length, data)
                source.skip(padding)
                continue
            source.skip(length)
            if header.isreg():
                yield Member(name, offset, length, None)
            source.skip(padding)
    except _EndOfStreamError:
        if not blank:
            yield Fault.TRUNCATED


_EXTENSIONS = (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME)
_WITHOUT_DATA = (
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
)
_MAX_DIGITS = 20  # of a size; Python refuses to read numbers of some thousand digits


def _parse(block: bytes) -> tarfile.TarInfo | None:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        return None
    return header if header.size >= 0 else None


def _length(header: tarfile.TarInfo, extended: Mapping[str, str]) -> int:
    """Bytes of data behind a header; links and folders may state a size, and have none."""
    if header.type in _WITHOUT_DATA:
        return 0
    return int(extended.get("size", header.size)) if header.isreg() else header.size


def _extension(kind: bytes, data: bytes) -> dict[str, str]:
    """What an extension header says of the next member: `path` and `size`."""
    if kind == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "replace")}
    records: dict[str, str] = {}
    while data:
        size_text, _, _ = data.partition(b" ")
        if not _is_size(size_text) or not 0 < int(size_text) <= len(data):
            break
        record, data = data[len(size_text) + 1 : int(size_text) - 1], data[int(size_text) :]
        key, _, value = record.decode("utf-8", "replace").partition("=")
        if key == "path" or (key == "size" and _is_size(value.encode())):
            records[key] = value
    return records


def _is_size(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MAX_DIGITS
