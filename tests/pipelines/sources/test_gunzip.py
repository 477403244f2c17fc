import gzip
import io
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.sources.gunzip import GunzipStream, GzipFault, read_gzip_members

LIMIT = 1 << 20
RNG = np.random.default_rng(0)
CONTENTS = [f"record {i} ".encode() * 30 + RNG.bytes(200 * i) for i in range(1, 13)]
MEMBERS = [gzip.compress(content, mtime=0) for content in CONTENTS]


def members_of(data, *, max_bytes=LIMIT):
    return list(read_gzip_members(io.BytesIO(data), max_bytes=max_bytes))


@given(st.lists(st.binary(max_size=2_000), max_size=6), st.integers(0, 3))
def test_members_are_what_was_compressed(contents, num_zeros):
    data = b"".join(gzip.compress(content) + bytes(num_zeros) for content in contents)
    assert members_of(data) == contents


def test_an_empty_file_has_no_members_and_no_fault():
    assert members_of(b"") == []


@pytest.mark.parametrize("broken", range(len(MEMBERS)))
@pytest.mark.parametrize("at", [0, 1, 2, 3, 11, 60, -9, -5, -1])
def test_a_broken_member_costs_itself_alone(broken, at):
    hurt = bytearray(MEMBERS[broken])
    hurt[at] ^= 0xFF
    found = members_of(b"".join([*MEMBERS[:broken], bytes(hurt), *MEMBERS[broken + 1 :]]))
    faults = [i for i, item in enumerate(found) if isinstance(item, GzipFault)]
    assert faults == [broken]
    assert found[:broken] + found[broken + 1 :] == CONTENTS[:broken] + CONTENTS[broken + 1 :]


def test_what_stands_between_members_is_one_fault():
    data = MEMBERS[0] + b"garbage \x1f\x8b\x08 and more " * 50 + MEMBERS[1]
    assert members_of(data) == [CONTENTS[0], GzipFault.BROKEN, CONTENTS[1]]


@pytest.mark.parametrize("cut", range(1, 300, 13))
def test_a_cut_file_keeps_the_members_before_the_cut(cut):
    found = members_of(b"".join(MEMBERS[:5])[:-cut])
    assert found == [*CONTENTS[:4], GzipFault.TRUNCATED]


@pytest.mark.parametrize("data", [b"no archive " * 100, b"\0" * 10 + b"xyz", b"\x1f\x8b" * 100])
def test_what_is_no_archive_is_one_fault(data):
    assert members_of(data) == [GzipFault.BROKEN]


def test_a_member_over_the_limit_is_told_and_passed_over():
    data = MEMBERS[0] + gzip.compress(bytes(50 << 20)) + MEMBERS[1]
    assert members_of(data, max_bytes=10_000) == [CONTENTS[0], GzipFault.OVER_LIMIT, CONTENTS[1]]
    exact = gzip.compress(b"x" * 10_000) + gzip.compress(b"x" * 10_001)
    assert members_of(exact, max_bytes=10_000) == [b"x" * 10_000, GzipFault.OVER_LIMIT]


def test_a_long_broken_member_is_passed_over_with_bounded_memory():
    long = bytearray(gzip.compress(np.random.default_rng(1).bytes(6 << 20), 1))
    long[-3] ^= 1
    assert members_of(bytes(long) + MEMBERS[1], max_bytes=100_000) == [GzipFault.BROKEN, CONTENTS[1]]


@given(st.lists(st.tuples(st.integers(0, 6_000), st.binary(min_size=1, max_size=8)), max_size=5), st.integers(0, 3_000))
def test_any_mutation_of_an_archive_ends_and_gives_no_wrong_member(writes, cut):
    data = b"".join(MEMBERS[:6])
    for at, what in writes:
        data = data[:at] + what + data[at + len(what) :]
    for item in members_of(data[: len(data) - cut]):
        assert isinstance(item, GzipFault) or item in CONTENTS


@given(st.lists(st.integers(0, 70_000), max_size=20), st.integers(1, 3))
def test_a_stream_reads_as_the_content_does(lengths, num_members):
    content = np.random.default_rng(num_members).bytes(120_000) + bytes(3 << 20)
    size = -(-len(content) // num_members)
    data = b"".join(gzip.compress(content[i : i + size], 1) for i in range(0, len(content), size))
    ours, plain = GunzipStream(io.BytesIO(data)), io.BytesIO(content)
    for length in lengths:
        assert ours.read(length) == plain.read(length)
    assert ours.read(len(content)) == plain.read()
    assert ours.read(1) == b""
    assert not ours.is_broken


def test_a_stream_that_is_cut_or_broken_gives_what_stands_before():
    content = np.random.default_rng(0).bytes(300_000)
    data = gzip.compress(content)
    cut = GunzipStream(io.BytesIO(data[:200_000]))
    found = cut.read(len(content))
    assert found == content[: len(found)]
    assert len(found) > 150_000
    assert not cut.is_broken
    broken = GunzipStream(io.BytesIO(data[:200_000] + b"\xff" * 100_000))
    found = broken.read(len(content))
    assert found[:150_000] == content[:150_000]
    plain = GunzipStream(io.BytesIO(b"no gzip"))
    assert (plain.read(10), plain.is_broken) == (b"", True)


def test_a_stream_ends_where_zlib_says_that_a_block_is_of_no_kind():
    stream = GunzipStream(io.BytesIO(gzip.compress(b"a" * 100)[:10] + b"\xff" * 50))
    assert (stream.read(10), stream.is_broken) == (b"", True)
    with pytest.raises(zlib.error):
        zlib.decompress(b"\xff" * 50, wbits=-15)
