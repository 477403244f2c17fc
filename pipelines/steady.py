"""Reading a store's file to the last byte that was asked for.

A read that gives fewer bytes than the file holds is made again for the rest, and the store is at fault when nothing
more comes: what is called truncated is truncated in the store. `failure` keeps the store's error for readers of
formats, which can't tell it from a broken file.
"""

from __future__ import annotations

import io
import time
from typing import Any, NoReturn

import pyarrow.fs as pafs

_MAX_ATTEMPTS = 5  # without a single byte
_FIRST_PAUSE_S = 0.1


class StoreError(OSError):
    """The store failed after its retries: never a reason to drop a row."""


class SteadyFile(io.RawIOBase):
    """A file of a store, to read from anywhere.

    Raises:
        FileNotFoundError: there is none.
        OSError: the store does not open it.
    """

    def __init__(self, filesystem: pafs.FileSystem, path: str) -> None:
        super().__init__()
        self._file = filesystem.open_input_file(path)
        self._path = path
        self._at = 0
        self.size = int(self._file.size())
        self.failure: StoreError | None = None
        self.num_bytes_read = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """Where the next read starts."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set where the next read starts."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - whatever holds bytes
        """Fill `buffer` up to the file's end. Raises StoreError."""
        view = memoryview(buffer).cast("B")
        data = self.read_at(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def read_at(self, length: int, offset: int) -> bytes:
        """`length` bytes, fewer only where the file ends. Raises StoreError."""
        stop = min(self.size, offset + length)
        pieces: list[bytes] = []
        num_empty = 0
        while offset < stop:
            piece = self._read_once(stop - offset, offset)
            pieces.append(piece)
            offset += len(piece)
            num_empty = 0 if piece else num_empty + 1
            if num_empty == _MAX_ATTEMPTS:
                self._fail(f"{self._path}: the store ended after {offset} of {self.size} bytes")
            if offset < stop:
                time.sleep(_FIRST_PAUSE_S * 2**num_empty)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_once(self, length: int, offset: int) -> bytes:
        try:
            piece = bytes(self._file.read_at(length, offset))
        except OSError as error:
            self._fail(f"{self._path}: {error}", error)
        self.num_bytes_read += len(piece)
        return piece

    def _fail(self, message: str, cause: OSError | None = None) -> NoReturn:
        self.failure = StoreError(message)
        raise self.failure from cause

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
        super().close()
