"""A store that is watched: what is read of it, and how often."""

import pyarrow.fs as pafs


class Watched:
    """The local file system, noting what is read; from a byte on, it fails."""

    def __init__(self, fails_from=None):
        self.num_bytes = 0
        self.paths = []  # of each file opened
        self.reads = []  # (offset, number of bytes) of each read
        self.fails_from = fails_from

    def get_file_info(self, what):
        return pafs.LocalFileSystem().get_file_info(what)

    def open_input_file(self, path):
        self.paths.append(path)
        return _WatchedFile(self, pafs.LocalFileSystem().open_input_file(path))


class _WatchedFile:
    def __init__(self, store, file):
        self._store, self._file = store, file

    def size(self):
        return self._file.size()

    def read_at(self, length, offset):
        if self._store.fails_from is not None and offset + length > self._store.fails_from:
            raise OSError("AWS Error SLOW_DOWN")
        data = self._file.read_at(length, offset)
        self._store.num_bytes += len(data)
        self._store.reads.append((offset, len(data)))
        return data

    def close(self):
        self._file.close()
