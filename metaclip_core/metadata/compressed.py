"""The content of a compressed file as far as it can be read: in chunks, and these in pieces between separators.

A file of Wikimedia may be many bz2 streams one behind another. Where one is broken, reading goes on at the next, which
its first ten bytes betray: they stand at the border of a byte, and by chance once in 10^22 bytes. So no index is
needed to recover. What was lost is counted, in streams.

An error of the store that holds the file is none of the data: it raises, and is never taken for a broken stream.
"""

from __future__ import annotations

import bz2
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import BinaryIO

from metaclip_core.funnel import Funnel

STREAMS = "streams"  # the stage of the funnel; an uncompressed file is one stream


class Compression(StrEnum):
    """How a file is packed."""

    NONE = "none"
    BZ2 = "bz2"
    GZIP = "gzip"


class StreamDrop(StrEnum):
    """Why a stream was not read to its end. What stands before the break is kept."""

    BROKEN = "stream_broken"
    TRUNCATED = "stream_truncated"


@dataclass(frozen=True)
class Chunk:
    """Some content, at most `CHUNK_BYTES`."""

    data: bytes
    continues: bool  # whether it follows the chunk before: false behind a break


CHUNK_BYTES = 1 << 20
_READ_BYTES = 1 << 18
_BZ2_START = re.compile(rb"BZh[1-9]1AY&SY")
_BZ2_START_BYTES = 10
_BZ2_LAG_BYTES = 4 << 20  # an error shows at the end of its block, 0.9 MB of content, and of what was read ahead


def read_chunks(
    file: BinaryIO, *, offset: int = 0, end: int, compression: Compression = Compression.BZ2, funnel: Funnel
) -> Iterator[Chunk]:
    """The content of the streams of `file` that begin at `offset` or later and before `end`, a few chunks in memory.

    Args:
        file: can be read and sought; `pyarrow.fs.FileSystem.open_input_file` gives one.
        offset: in bytes, where a stream begins; 0 unless it is bz2.
        end: the file's size for all of it. A stream that begins before is read to its own end.
        compression: of the file.
        funnel: gets the streams, and those that were broken or end too early.

    Raises:
        OSError: the store failed.
    """
    match compression:
        case Compression.NONE:
            yield from _plain(file, funnel)
        case Compression.BZ2:
            yield from _bz2(file, offset, end, funnel)
        case Compression.GZIP:
            yield from _gzip(file, funnel)


@dataclass(frozen=True)
class Piece:
    """What stands between two separators, or beside a break."""

    data: bytes | None  # nothing where it is over the limit
    is_ended: bool  # whether a separator follows it; if not, a break does, or the end


def split(chunks: Iterable[Chunk], separator: bytes, *, max_bytes: int) -> Iterator[Piece]:
    """The pieces of `chunks` between separators. One longer than `max_bytes` is passed over without being held.

    No piece reaches over a break. An empty one is given only where a separator follows.
    """
    rest, is_oversize = b"", False
    for chunk in chunks:
        if not chunk.continues:
            if rest and not is_oversize:
                yield Piece(rest, is_ended=False)
            rest, is_oversize = b"", False
        *ended, rest = (rest + chunk.data).split(separator)
        for data in ended:
            if not is_oversize:  # else it is the end of one that was given already
                yield Piece(data if len(data) <= max_bytes else None, is_ended=True)
            is_oversize = False
        if not is_oversize and len(rest) > max_bytes:
            is_oversize = True
            yield Piece(None, is_ended=False)
        if is_oversize:
            rest = rest[-len(separator) :]  # which may begin a separator
    if rest and not is_oversize:
        yield Piece(rest, is_ended=False)


def _read(file: BinaryIO, offset: int) -> Iterator[bytes]:
    file.seek(offset)
    while data := file.read(_READ_BYTES):
        yield data


def _plain(file: BinaryIO, funnel: Funnel) -> Iterator[Chunk]:
    funnel.enter(STREAMS)
    for data in _read(file, 0):
        yield Chunk(data, continues=True)


def _bz2(file: BinaryIO, offset: int, end: int, funnel: Funnel) -> Iterator[Chunk]:
    """Streams until there is none left; `offset` is where the present one begins."""
    continues = True
    while offset < end:
        funnel.enter(STREAMS)
        decompressor, packed, fed = bz2.BZ2Decompressor(), _read(file, offset), offset
        while not decompressor.eof:
            more = next(packed, b"") if decompressor.needs_input else b""
            if decompressor.needs_input and not more:
                funnel.drop(STREAMS, StreamDrop.TRUNCATED)
                return
            fed += len(more)
            try:
                data = decompressor.decompress(more, CHUNK_BYTES)
            except OSError:  # of the data: nothing is read from the store here
                funnel.drop(STREAMS, StreamDrop.BROKEN)
                offset, continues = _next_bz2(file, max(offset + 1, fed - _BZ2_LAG_BYTES)), False
                break
            if data:
                yield Chunk(data, continues=continues)
                continues = True
        else:
            offset = fed - len(decompressor.unused_data)


def _next_bz2(file: BinaryIO, offset: int) -> int:
    """Where the next stream begins, at `offset` or later; the file's end where there is none."""
    window = b""
    for data in _read(file, offset):
        window = window[1 - _BZ2_START_BYTES :] + data
        offset += len(data)
        if found := _BZ2_START.search(window):
            return offset - len(window) + found.start()
    return offset


def _gzip(file: BinaryIO, funnel: Funnel) -> Iterator[Chunk]:
    """Members until there is none left. Behind a broken one nothing is read: gzip has no mark to find the next by."""
    packed, rest = _read(file, 0), b""
    while rest or (rest := next(packed, b"")):
        funnel.enter(STREAMS)
        decompressor = zlib.decompressobj(wbits=31)
        while not decompressor.eof:
            rest = rest or next(packed, b"")
            if not rest:
                funnel.drop(STREAMS, StreamDrop.TRUNCATED)
                return
            try:
                data = decompressor.decompress(rest, CHUNK_BYTES)
            except zlib.error:
                funnel.drop(STREAMS, StreamDrop.BROKEN)
                return
            rest = decompressor.unconsumed_tail
            if data:
                yield Chunk(data, continues=True)
        rest = decompressor.unused_data
