"""A tar archive as a stream of members that survives what the web does to archives.

`tarfile` stops in silence at a bad header and raises at a cut; here a bad header costs its block, a cut costs what
stands behind it, and both are told. Memory is one member.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any, NamedTuple

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
            if header.kind in _EXTENSIONS and length <= _PIECE:
                extended |= _extension(header.kind, source.read(length))
                source.skip(padding)
                continue
            name = extended.get("path", header.name)
            extended = {}
            is_file = header.kind in tarfile.REGULAR_TYPES
            if is_file and wanted(name, length):
                data = source.read(length)
                yield Member(name, offset, length, data)
                source.skip(padding)
                continue
            source.skip(length)
            if is_file:
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
_NAME, _SIZE, _CHECKSUM, _PREFIX = slice(0, 100), slice(124, 136), slice(148, 156), slice(345, 500)  # of a header
_KIND = slice(156, 157)
_BASE_256 = (0x80, 0xFF)
_NEGATIVE = 0xFF
_BLANKS = 8 * ord(" ")  # the checksum's own field
_MAX_DIGITS = 20  # of a size; Python refuses to read numbers of some thousand digits


class _Header(NamedTuple):
    """What is needed of a header."""

    name: str
    kind: bytes
    size: int


def _parse(block: bytes) -> _Header | None:
    """The header in a block, by the rules of `tarfile`, which reads ten fields more; None where it is none."""
    try:
        size = _number(block[_SIZE])
        if size < 0 or _number(block[_CHECKSUM]) not in _checksums(block):
            return None
    except ValueError:
        return None
    name, kind = _text(block[_NAME]), block[_KIND]
    if kind == tarfile.AREGTYPE and name.endswith("/"):
        kind = tarfile.DIRTYPE
    if kind not in tarfile.GNU_TYPES and (prefix := _text(block[_PREFIX])):
        name = f"{prefix}/{name}"
    return _Header(name, kind, size)


def _checksums(block: bytes) -> Iterator[int]:
    """The sum of a header's bytes with its own field as blanks; then as old programs took it, of signed bytes."""
    outside = block[: _CHECKSUM.start] + block[_CHECKSUM.stop :]
    yield sum(outside, _BLANKS)
    yield sum(memoryview(outside).cast("b"), _BLANKS)


def _number(field: bytes) -> int:
    """Octal digits, or 256 as the base where the first byte says so. Raises ValueError."""
    if field[0] in _BASE_256:
        return int.from_bytes(field[1:], "big") - (256 ** (len(field) - 1) if field[0] == _NEGATIVE else 0)
    return int(field.partition(b"\0")[0].strip() or b"0", 8)


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "replace")


def _length(header: _Header, extended: Mapping[str, str]) -> int:
    """Bytes of data behind a header; links and folders may state a size, and have none."""
    if header.kind in _WITHOUT_DATA:
        return 0
    return int(extended.get("size", header.size)) if header.kind in tarfile.REGULAR_TYPES else header.size


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
