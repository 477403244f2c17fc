"""Ranges of one file: by coalesced requests, in which neighbours that stand close are one, or from a stream of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow.fs as pafs

from pipelines.steady import SteadyFile

# Bytes that cost less to read than another request does: 20 ms of a store that sends 50 MB/s. Where more than a tenth
# of a shard is kept, gaps are smaller: it is read in requests of 16 MiB, as fast as whole (tests/benchmarks/tar.py).
_MAX_GAP = 1 << 20
_MAX_REQUEST = 16 << 20
_SKIPPED = 1 << 20  # bytes of a stream passed over at once


def read_ranges(filesystem: pafs.FileSystem, path: str, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """The bytes of each (offset, length), in the order asked for.

    Raises:
        OSError: the store fails, or the file ends before a range does.
    """
    order = sorted(range(len(offsets)), key=lambda i: offsets[i])
    result = [b""] * len(offsets)
    with SteadyFile(filesystem, path) as file:
        group: list[int] = []
        for index in [*order, None]:
            if index is not None and (not group or _fits(group, index, offsets, lengths)):
                group.append(index)
                continue
            if group:
                start = offsets[group[0]]
                stop = max(offsets[i] + lengths[i] for i in group)
                data = memoryview(file.read_at(stop - start, start))
                if len(data) < stop - start:
                    raise OSError(f"{path} ends at {start + len(data)}, before the range that ends at {stop}")
                for i in group:
                    result[i] = bytes(data[offsets[i] - start : offsets[i] - start + lengths[i]])
            group = [] if index is None else [index]
    return result


def stream_ranges(
    stream: Any,  # noqa: ANN401 - anything that reads
    path: str,
    offsets: Sequence[int],
    lengths: Sequence[int],
) -> list[bytes]:
    """The bytes of each (offset, length), in the order asked for, from a stream that can't seek.

    Raises:
        OSError: the stream ends before a range does; names `path`.
    """
    result = [b""] * len(offsets)
    at, held = 0, b""  # `held` ends at `at`
    for index in sorted(range(len(offsets)), key=lambda i: offsets[i]):
        start, stop = offsets[index], offsets[index] + lengths[index]
        while at < start and (passed := len(stream.read(min(start - at, _SKIPPED)))):
            at, held = at + passed, b""
        held = held[start - at + len(held) :]
        if stop > at:
            data = bytes(stream.read(stop - at))
            at, held = at + len(data), held + data
        if stop > at:
            raise OSError(f"{path} ends at {at}, before the range that ends at {stop}")
        result[index] = held[: stop - start]
    return result


def _fits(group: list[int], index: int, offsets: Sequence[int], lengths: Sequence[int]) -> bool:
    stop = offsets[group[-1]] + lengths[group[-1]]
    return offsets[index] - stop <= _MAX_GAP and offsets[index] + lengths[index] - offsets[group[0]] <= _MAX_REQUEST
