import io

import numpy as np
import pyarrow.fs as pafs
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.ranges import read_ranges, stream_ranges

MIB = 1 << 20
CONTENT = np.random.default_rng(0).bytes(40 * MIB)


class CountingFileSystem(MemoryFileSystem):
    """Files in memory; every request for bytes is listed."""

    store = {}  # noqa: RUF012 - fsspec's own form
    pseudo_dirs = [""]  # noqa: RUF012
    protocol = "counting"
    cachable = False

    def __init__(self):
        super().__init__()
        self.requests = []

    def _open(self, path, mode="rb", **options):
        file = super()._open(path, mode, **options)
        if mode == "rb":
            file = _ListingFile(file.getvalue(), self.requests)
        return file


class _ListingFile:
    """A file opened for reading, with what pyarrow asks of it."""

    def __init__(self, data, requests):
        self._data, self._requests, self._at = data, requests, 0
        self.size, self.closed = len(data), False

    def seek(self, offset, whence=0):
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self):
        return self._at

    def read(self, length=-1):
        stop = self.size if length < 0 else self._at + length
        data = self._data[self._at : stop]
        self._requests.append((self._at, len(data)))
        self._at += len(data)
        return data

    def close(self):
        self.closed = True

    def readable(self):
        return True

    def seekable(self):
        return True

    def writable(self):
        return False


@pytest.fixture(scope="module")
def store():
    memory = CountingFileSystem()
    memory.pipe_file("/shard.tar", CONTENT)
    memory.pipe_file("/short.tar", CONTENT[:100])
    return memory


def read(store, offsets, lengths, *, name="shard.tar"):
    """The bytes, and the requests that they took."""
    store.requests.clear()
    return read_ranges(pafs.PyFileSystem(pafs.FSSpecHandler(store)), f"/{name}", offsets, lengths), list(store.requests)


def sliced(offsets, lengths):
    return [CONTENT[offset : offset + length] for offset, length in zip(offsets, lengths, strict=True)]


any_range = st.tuples(st.integers(0, 300_000), st.integers(0, 100_000))
far_range = st.tuples(st.integers(0, 39 * MIB), st.integers(0, MIB))


@settings(deadline=None)
@given(st.lists(any_range | far_range, max_size=12))
def test_ranges_of_any_order_and_overlap_equal_slices(store, ranges):
    offsets, lengths = [offset for offset, _ in ranges], [length for _, length in ranges]
    assert read(store, offsets, lengths)[0] == sliced(offsets, lengths)


def test_ranges_of_a_local_file_equal_slices(tmp_path):
    (tmp_path / "shard.tar").write_bytes(CONTENT[:MIB])
    offsets, lengths = [5_000, 0, MIB - 10, 5_100], [200, 10, 10, 0]
    assert read_ranges(pafs.LocalFileSystem(), str(tmp_path / "shard.tar"), offsets, lengths) == sliced(
        offsets, lengths
    )


def test_neighbouring_images_take_one_request(store):
    offsets = np.random.default_rng(1).permutation(512 + 4096 * np.arange(500)).tolist()
    data, requests = read(store, offsets, [3000] * 500)
    assert data == sliced(offsets, [3000] * 500)
    assert len(requests) == 1


def test_images_far_apart_take_a_request_each_of_their_own_bytes(store):
    offsets, lengths = [20 * MIB, 0, 10 * MIB], [30, 10, 20]
    data, requests = read(store, offsets, lengths)
    assert data == sliced(offsets, lengths)
    assert sorted(requests) == [(0, 10), (10 * MIB, 20), (20 * MIB, 30)]


@pytest.mark.parametrize("seed", range(5))
def test_a_fifth_of_images_of_100_kb_is_read_with_little_else(store, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(60_000, 140_000, 390)
    offsets = np.append(0, np.cumsum(lengths + 1_536)[:-1])  # with headers and a description between
    kept = np.flatnonzero(rng.random(len(lengths)) < 0.2)
    _, requests = read(store, offsets[kept].tolist(), lengths[kept].tolist())
    assert sum(length for _, length in requests) <= 1.3 * lengths[kept].sum()


def test_many_neighbours_take_requests_of_bounded_size(store):
    offsets = list(range(0, 40 * MIB, 20_000))
    lengths = [min(20_000, len(CONTENT) - offset) for offset in offsets]
    data, requests = read(store, offsets, lengths)
    assert data == sliced(offsets, lengths)
    assert len(requests) == 3  # 40 MiB in pieces of at most 16
    assert max(length for _, length in requests) <= 16 * MIB


def test_one_range_larger_than_a_request_is_still_read_whole(store):
    assert read(store, [5], [30 * MIB])[0] == [CONTENT[5 : 5 + 30 * MIB]]


def test_no_ranges_take_no_request(store):
    assert read(store, [], []) == ([], [])


def test_the_same_range_twice_is_read_once(store):
    data, requests = read(store, [100, 100], [50, 50])
    assert data == sliced([100, 100], [50, 50])
    assert requests == [(100, 50)]


@pytest.mark.parametrize(("offset", "length"), [(99, 2), (0, 101), (100, 1), (5_000, 1)])
def test_a_range_beyond_the_files_end_is_an_error(store, offset, length):
    with pytest.raises(OSError, match=r"short\.tar|out of bounds"):
        read(store, [0, offset], [10, length], name="short.tar")


def test_a_range_up_to_the_files_last_byte_is_read(store):
    assert read(store, [0, 90], [10, 10], name="short.tar")[0] == sliced([0, 90], [10, 10])


def test_a_file_that_is_not_there_is_an_error(store):
    with pytest.raises(FileNotFoundError):
        read(store, [0], [1], name="none.tar")


@settings(deadline=None)
@given(st.lists(any_range | far_range, max_size=12))
def test_ranges_of_a_stream_in_any_order_and_overlap_equal_slices(ranges):
    offsets, lengths = [offset for offset, _ in ranges], [length for _, length in ranges]
    assert stream_ranges(io.BytesIO(CONTENT), "a.tar.gz", offsets, lengths) == sliced(offsets, lengths)


@pytest.mark.parametrize(("offset", "length"), [(90, 20), (100, 1), (5_000_000, 3), (150, 0)])
def test_stream_that_ends_before_a_range_is_an_error_that_names_the_file(offset, length):
    with pytest.raises(OSError, match=r"a\.tar\.gz ends at 100"):
        stream_ranges(io.BytesIO(CONTENT[:100]), "a.tar.gz", [0, offset], [5, length])
