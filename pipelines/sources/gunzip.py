"""gzip read in pieces of bounded size: a stream of one file, or the members of an archive one by one.

An archive of the web is one gzip member for each record, so that a broken one need not cost the others: what does not
decompress is passed over to the next member that does. The libraries for such archives (fastwarc, warcio) give the
rest of the file up there, and end in silence at a cut.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from enum import Enum
from typing import IO, Any

_PIECE = 1 << 14  # fed at once: what follows a member in it is copied
_READ = 1 << 20
_INFLATED = 1 << 20  # taken at once
_MAGIC = b"\x1f\x8b\x08"
_GZIP = 31  # zlib's name of the format


class GzipFault(Enum):
    """What is wrong with an archive, beside its members."""

    BROKEN = "bytes that are no whole member"
    OVER_LIMIT = "a member with more bytes than asked for"
    TRUNCATED = "the archive ends inside a member"


class GunzipStream:
    """The content of a gzip'd stream; members follow each other. It ends early where the input breaks or is cut."""

    def __init__(self, stream: IO[bytes] | Any) -> None:  # noqa: ANN401 - pyarrow's streams are untyped
        self._stream = stream
        self._parts = self._inflate()
        self._held, self._at = b"", 0
        self.is_broken = False

    def read(self, length: int) -> bytes:
        """The next `length` bytes; fewer at the end alone."""
        size = len(self._held) - self._at
        if size < length:
            parts = [self._held[self._at :]]
            while size < length and (part := next(self._parts, None)) is not None:
                parts.append(part)
                size += len(part)
            self._held, self._at = b"".join(parts), 0
        data = self._held[self._at : self._at + length]
        self._at += len(data)
        return data

    def _inflate(self) -> Iterator[bytes]:
        decoder = zlib.decompressobj(_GZIP)
        while data := bytes(self._stream.read(_READ)):
            for at in range(0, len(data), _PIECE):
                piece = data[at : at + _PIECE]
                while piece:
                    if decoder.eof:
                        decoder = zlib.decompressobj(_GZIP)
                    before, given = decoder.copy(), 0
                    try:
                        for part in _inflated(decoder, piece):
                            given += len(part)
                            yield part
                    except zlib.error:
                        self.is_broken = True
                        yield _up_to_the_break(before, piece)[given:]
                        return
                    piece = decoder.unused_data.lstrip(b"\0")


def _up_to_the_break(decoder: Any, piece: bytes) -> bytes:  # noqa: ANN401 - zlib does not name its type
    """What `piece` holds before the byte that breaks it, which zlib keeps for itself when it is fed more."""
    parts: list[bytes] = []
    try:
        for at in range(len(piece)):
            parts += _inflated(decoder, piece[at : at + 1])
    except zlib.error:
        pass
    return b"".join(parts)


def read_gzip_members(
    stream: IO[bytes] | Any,  # noqa: ANN401 - pyarrow's streams are untyped
    *,
    max_bytes: int,
) -> Iterator[bytes | GzipFault]:
    """Members and faults of an archive in order; never raises for its content. A run of broken bytes is one fault.

    Args:
        stream: readable bytes, read once, to its end.
        max_bytes: of a member; memory is a few times that.
    """
    window = _Window(stream, max_bytes)
    fault: GzipFault | None = None
    while not window.at_end():
        found = window.inflate(max_bytes)
        if isinstance(found, GzipFault) and found is not GzipFault.OVER_LIMIT:
            fault = fault or found
            window.seek_magic()
            continue
        if fault is not None:
            yield GzipFault.BROKEN  # it did not end there
            fault = None
        yield found
    if fault is not None:
        yield fault


class _Window:
    """The bytes of a stream from the start of the member that is being read."""

    def __init__(self, stream: Any, max_held: int) -> None:  # noqa: ANN401 - pyarrow's streams are untyped
        self._stream = stream
        self._max_held = max_held
        self._held = b""
        self._start = 0  # of the member

    def at_end(self) -> bool:
        """Pass over the zeros between members; whether nothing follows them."""
        while True:
            while self._start < len(self._held) and not self._held[self._start]:
                self._start += 1
            if self._start < len(self._held):
                return False
            if not self._fill():
                return True

    def inflate(self, max_bytes: int) -> bytes | GzipFault:
        """The member that starts here, and go behind it; at a fault other than its size stay."""
        decoder = zlib.decompressobj(_GZIP)
        parts: list[bytes] = []
        size = 0
        at = self._start
        while not decoder.eof:
            if at == len(self._held):
                if at - self._start > self._max_held:  # too much to come back to
                    self._start = at
                at -= self._start
                if not self._fill():
                    return GzipFault.TRUNCATED
            piece = self._held[at : at + _PIECE]
            at += len(piece)
            try:
                for part in _inflated(decoder, piece):
                    size += len(part)
                    if size <= max_bytes:
                        parts.append(part)
            except zlib.error:
                return GzipFault.BROKEN
        self._start = at - len(decoder.unused_data)
        return b"".join(parts) if size <= max_bytes else GzipFault.OVER_LIMIT

    def seek_magic(self) -> None:
        """Go to the next place behind this one where a member may start, or to the end."""
        self._start += 1
        while (found := self._held.find(_MAGIC, self._start)) < 0:
            self._start = max(self._start, len(self._held) - len(_MAGIC) + 1)
            if not self._fill():
                self._start = len(self._held)
                return
        self._start = found

    def _fill(self) -> bool:
        """Forget what stands before the member, and read on; False at the end."""
        data = bytes(self._stream.read(_READ))
        self._held = self._held[self._start :] + data
        self._start = 0
        return bool(data)


def _inflated(decoder: Any, piece: bytes) -> Iterator[bytes]:  # noqa: ANN401 - zlib does not name its type
    while True:
        part = decoder.decompress(piece, _INFLATED)
        yield part
        piece = decoder.unconsumed_tail
        if decoder.eof or (not piece and len(part) < _INFLATED):
            return
