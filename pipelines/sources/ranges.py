"""Ranges of one file: by coalesced requests, in which neighbours that stand close are one, or from a stream of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import pyarrow.fs as pafs

from pipelines.steady import SteadyFile

# Requests go out side by side, so what one waits for is hidden, and a gap need only be worth its fixed cost: small ones
# keep what is read near what is kept (tests/benchmarks/tar.py).
_MAX_GAP = 64 << 10
_MAX_REQUEST = 16 << 20
_REQUESTS = 16  # of one process at once
_SKIPPED = 1 << 20  # bytes of a stream passed over at once


@cache
def _requests() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_REQUESTS, thread_name_prefix="ranges")


def read_ranges(filesystem: pafs.FileSystem, path: str, offsets: Sequence[int], lengths: Sequence[int]) -> list[bytes]:
    """The bytes of each (offset, length), in the order asked for; several requests at once.

    Raises:
        OSError: the store fails, or the file ends before a range does.
    """
    result = [b""] * len(offsets)
    with SteadyFile(filesystem, path) as file:

        def read(group: list[int]) -> None:
            start = offsets[group[0]]
            stop = max(offsets[i] + lengths[i] for i in group)
            data = memoryview(file.read_at(stop - start, start))
            if len(data) < stop - start:
                raise OSError(f"{path} ends at {start + len(data)}, before the range that ends at {stop}")
            for i in group:
                result[i] = bytes(data[offsets[i] - start : offsets[i] - start + lengths[i]])

        groups = _grouped(offsets, lengths)
        if len(groups) == 1:
            read(groups[0])
        else:
            wait(futures := [_requests().submit(read, group) for group in groups], return_when=FIRST_EXCEPTION)
            for future in futures:
                future.cancel()
            wait(futures)  # before the file is closed
            for future in futures:
                if not future.cancelled():
                    future.result()
    return result


def _grouped(offsets: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """The ranges that one request reads together."""
    groups: list[list[int]] = []
    for index in sorted(range(len(offsets)), key=lambda i: offsets[i]):
        if groups and _fits(groups[-1], index, offsets, lengths):
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


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
