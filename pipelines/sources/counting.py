"""What tells a file that is cut from a store that gave up: the file's own size."""

from __future__ import annotations

from typing import Any

import pyarrow.fs as pafs


class CountingStream:
    """A stream that knows how many bytes it has given; those of stores can't tell."""

    def __init__(self, stream: Any) -> None:  # noqa: ANN401 - pyarrow's streams are untyped
        self._stream = stream
        self.num_bytes = 0

    def read(self, length: int) -> bytes:
        """The next `length` bytes; fewer at the end alone."""
        data = bytes(self._stream.read(length))
        self.num_bytes += len(data)
        return data

    def check_all_read(self, filesystem: pafs.FileSystem, path: str) -> None:
        """Raises OSError when the stream ended before the file at `path` does: it is not the file that is cut."""
        size = filesystem.get_file_info(path).size
        if self.num_bytes < size:
            raise OSError(f"{path}: the store ended after {self.num_bytes} of {size} bytes")
