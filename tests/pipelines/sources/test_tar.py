import io
import tarfile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipelines.sources.tar import Fault, Member, _parse, read_members

BLOCK = 512
LIMIT = 1 << 20
FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def hold_all(_name, length):
    return length <= LIMIT


def members_of(data, *, wanted=hold_all):
    return list(read_members(io.BytesIO(data), wanted=wanted))


def sound_members(data):
    return [item for item in members_of(data) if isinstance(item, Member)]


def faults_of(data):
    return [item for item in members_of(data) if isinstance(item, Fault)]


def archive_of(files, *, tar_format=tarfile.GNU_FORMAT):
    """An archive of (name, content); content is bytes, or a type of member that has none."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for name, content in files:
            header = tarfile.TarInfo(name)
            if isinstance(content, bytes) and content in {tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE}:
                header.type, header.linkname = (
                    content,
                    "target" * 30 if tar_format != tarfile.USTAR_FORMAT else "target",
                )
                archive.addfile(header)
            else:
                header.size = len(content)
                archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


def by_tarfile(data):
    """The regular files as Python's own reader finds them."""
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
        return [
            Member(header.name, header.offset_data, header.size, archive.extractfile(header).read())
            for header in archive.getmembers()
            if header.isreg()
        ]


ustar_names = st.from_regex(r"[a-zA-Z0-9_]{1,20}(/[a-z.]{1,20}){0,3}\.(jpg|json)", fullmatch=True)
any_names = ustar_names | st.from_regex(r"[a-zäß日本😀/. ]{1,20}x\.jpg", fullmatch=True).filter(
    lambda name: not name.startswith("/")
)
long_names = st.integers(90, 400).map(lambda size: "n" * size + ".jpg") | st.just("目録/" * 60 + "画像.jpg")
contents = st.binary(max_size=1200) | st.sampled_from([b"", b"x" * 512, b"\0" * 1024, b"y" * 1500])
members = st.sampled_from([tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE]) | contents


@pytest.mark.parametrize("name", ["gnu", "pax"])
@settings(deadline=None)
@given(st.lists(st.tuples(any_names | long_names, members), max_size=8))
def test_members_of_a_sound_archive_are_those_that_tarfile_finds(name, files):
    data = archive_of(files, tar_format=FORMATS[name])
    assert members_of(data) == by_tarfile(data)


@settings(deadline=None)
@given(st.lists(st.tuples(ustar_names, members), max_size=8))
def test_members_of_a_sound_ustar_archive_are_those_that_tarfile_finds(files):
    data = archive_of(files, tar_format=tarfile.USTAR_FORMAT)
    assert members_of(data) == by_tarfile(data)


def test_members_of_an_archive_with_global_pax_headers_are_those_that_tarfile_finds():
    buffer = io.BytesIO()
    headers = {"comment": "made by a test", "mtime": "1"}
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers=headers) as archive:
        header = tarfile.TarInfo("目" * 80 + ".jpg")
        header.size = 3
        header.pax_headers = {"comment": "x" * 1000}
        archive.addfile(header, io.BytesIO(b"abc"))
    assert members_of(buffer.getvalue()) == by_tarfile(buffer.getvalue())


def test_size_of_a_pax_header_wins_over_that_of_the_plain_header():
    content = b"c" * 700
    header = tarfile.TarInfo("a.jpg")
    header.size, header.pax_headers = len(content), {"size": str(len(content))}
    data = bytearray(header.tobuf(tarfile.PAX_FORMAT) + content.ljust(1024, b"\0") + bytes(10 * BLOCK))
    plain = tarfile.TarInfo("a.jpg")  # as for files over 8 GiB: the plain header says 0
    data[2 * BLOCK : 3 * BLOCK] = plain.tobuf(tarfile.USTAR_FORMAT)
    assert members_of(bytes(data)) == by_tarfile(bytes(data)) == [Member("a.jpg", 3 * BLOCK, 700, content)]


@pytest.mark.parametrize("size", ["\u00b2", "9" * 5000, "9" * 30, "-1", "", "1e3", "\u0663"])
def test_a_pax_size_that_is_no_number_never_raises(size):
    header = tarfile.TarInfo("a.jpg")
    header.pax_headers = {"size": size}
    data = header.tobuf(tarfile.PAX_FORMAT) + archive_of([("b.jpg", b"b")])
    assert all(isinstance(item, Member | Fault) for item in members_of(data))


@pytest.mark.parametrize(
    "record", [b"9" * 5000 + b" path=b\n", b"0 path=b\n", b"5\n", b" \n", b"999 path=b\n", b"3 \n"]
)
def test_a_pax_record_of_a_wrong_length_never_raises(record):
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, len(record)
    data = header.tobuf(tarfile.USTAR_FORMAT) + record.ljust(-(-len(record) // BLOCK) * BLOCK, b"\0")
    data += archive_of([("a.jpg", b"content")])
    assert [member.data for member in sound_members(data)] == [b"content"]


@pytest.mark.parametrize("kind", [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_and_folders_that_state_a_size_have_no_data_all_the_same(kind):
    header = tarfile.TarInfo("link")
    header.type, header.size, header.linkname = kind, 700, "target"
    data = header.tobuf(tarfile.GNU_FORMAT) + archive_of([("a.jpg", b"a" * 600), ("b.jpg", b"b")])
    assert members_of(data) == by_tarfile(data)
    assert len(members_of(data)) == 2


def test_member_that_is_not_wanted_is_told_without_its_data():
    data = archive_of([("a.jpg", b"a" * 600), ("a.json", b"{}"), ("b.jpg", b"")])
    asked = []

    def wanted(name, length):
        asked.append((name, length))
        return name.endswith("json")

    found = members_of(data, wanted=wanted)
    assert asked == [("a.jpg", 600), ("a.json", 2), ("b.jpg", 0)]
    assert [member.data for member in found] == [None, b"{}", None]
    assert [(m.name, m.offset, m.length) for m in found] == [(m.name, m.offset, m.length) for m in by_tarfile(data)]


SMALL = [
    ("a.jpg", b"a" * 700),
    ("folder", tarfile.DIRTYPE),
    ("n" * 150 + ".json", b"{}"),
    ("b.jpg", b""),
    ("c.txt", b"c"),
]


@pytest.mark.parametrize("name", ["gnu", "pax"])
def test_archive_cut_at_any_byte_keeps_every_member_before_the_cut(name):
    data = archive_of(SMALL, tar_format=FORMATS[name])
    whole = by_tarfile(data)
    end = data.rstrip(b"\0")  # the last member is padded, and then comes the closing block
    closed_from = -(-len(end) // BLOCK) * BLOCK + BLOCK
    for cut in range(closed_from + BLOCK):
        found = members_of(data[:cut])
        expected = [member for member in whole if member.offset + member.length <= cut]
        assert [item for item in found if isinstance(item, Member)] == expected
        assert [item for item in found if isinstance(item, Fault)] == [Fault.TRUNCATED] * (cut < closed_from)


PLAIN = [(f"{i:03d}.jpg", bytes([65 + i]) * (300 * i + 1)) for i in range(5)]


@pytest.mark.parametrize("broken", range(len(PLAIN)))
@pytest.mark.parametrize("at", [0, 50, 124, 130, 148, 156, 257, 400, 511])
def test_a_header_with_a_flipped_byte_costs_only_its_member(broken, at):
    data = bytearray(archive_of(PLAIN))
    whole = by_tarfile(bytes(data))
    data[whole[broken].offset - BLOCK + at] ^= 0x15
    assert sound_members(bytes(data)) == whole[:broken] + whole[broken + 1 :]
    assert faults_of(bytes(data)) == [Fault.BAD_HEADER]


@pytest.mark.parametrize("name", ["gnu", "pax"])
def test_the_long_name_of_a_member_with_a_broken_header_is_not_given_to_the_next_member(name):
    files = [("first" * 40 + ".jpg", b"a" * 700), ("second.jpg", b"b" * 10), ("third.jpg", b"c")]
    data = bytearray(archive_of(files, tar_format=FORMATS[name]))
    whole = by_tarfile(bytes(data))
    data[whole[0].offset - BLOCK] ^= 1
    assert sound_members(bytes(data)) == whole[1:]


def test_the_zeros_in_the_data_of_a_member_with_a_broken_header_do_not_end_the_archive():
    data = bytearray(archive_of([("a.jpg", b"a" * 512 + bytes(2048) + b"a" * 512), ("b.jpg", b"b")]))
    whole = by_tarfile(bytes(data))
    data[0] ^= 1
    assert sound_members(bytes(data)) == whole[1:]
    assert faults_of(bytes(data)) == [Fault.BAD_HEADER]


def test_a_broken_last_header_before_the_closing_blocks_is_no_cut():
    data = bytearray(archive_of([("a.jpg", b"a"), ("b.jpg", b"b" * 600)]))
    whole = by_tarfile(bytes(data))
    data[whole[1].offset - BLOCK] ^= 1
    assert members_of(bytes(data)) == [whole[0], Fault.BAD_HEADER]


def test_each_run_of_broken_blocks_is_one_fault():
    data = bytearray(archive_of(PLAIN))
    for member in by_tarfile(bytes(data))[1::2]:
        data[member.offset - BLOCK] ^= 1
    assert faults_of(bytes(data)) == [Fault.BAD_HEADER] * 2


def test_an_empty_file_is_a_cut_and_an_empty_archive_is_sound():
    assert members_of(b"") == [Fault.TRUNCATED]
    assert members_of(archive_of([])) == []


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=3000).filter(lambda data: data.strip(b"\0")))
def test_garbage_holds_no_members_and_is_told(data):
    found = members_of(data)
    assert found
    assert all(isinstance(item, Fault) for item in found)


BASES = [archive_of(SMALL), archive_of(SMALL, tar_format=tarfile.PAX_FORMAT), archive_of(PLAIN)]


def resealed(data, offset):
    """`data` with the checksum of the header at `offset` made right: the mutation gets past the first check."""
    block = bytearray(data[offset : offset + BLOCK].ljust(BLOCK, b"\0"))
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return data[:offset] + bytes(block) + data[offset + BLOCK :]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(BASES),
    st.lists(st.tuples(st.integers(0, 8000), st.binary(min_size=1, max_size=12)), max_size=6),
    st.lists(st.integers(0, 12), max_size=3),
    st.integers(0, 2000),
)
@example(BASES[0], [(124, b"\x80" + b"\xff" * 11)], [0], 0)  # a size of 2**88
@example(BASES[0], [(124, b"\xff" * 12)], [0], 0)  # a size of -1
@example(BASES[0], [(156, b"S"), (482, b"\1")], [0], 0)  # a sparse file
def test_any_mutation_of_an_archive_never_raises_and_ends(base, writes, sealed_blocks, cut):
    data = base
    for at, what in writes:
        data = data[:at] + what + data[at + len(what) :]
    for block in sealed_blocks:
        data = resealed(data, block * BLOCK)
    data = data[: max(0, len(data) - cut)]
    for item in members_of(data):
        if isinstance(item, Member) and item.data is not None:
            assert item.data == data[item.offset : item.offset + item.length]
        else:
            assert isinstance(item, Member | Fault)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(BASES),
    st.integers(0, 5),
    st.lists(st.tuples(st.integers(0, 511), st.binary(min_size=1, max_size=12)), max_size=4),
    st.booleans(),
)
def test_header_that_tarfile_takes_is_read_as_tarfile_reads_it(base, block, writes, sealed):
    data = base[block * BLOCK : (block + 1) * BLOCK]
    for at, what in writes:
        data = (data[:at] + what + data[at + len(what) :])[:BLOCK]
    data = resealed(data, 0) if sealed else data
    found = _parse(data)
    try:
        header = tarfile.TarInfo.frombuf(data, "utf-8", "replace")
    except tarfile.HeaderError:
        assert found is None or sealed  # fields that nothing here depends on may be broken
        return
    if header.size < 0:
        assert found is None
    else:
        assert (found.name.rstrip("/"), found.kind, found.size) == (header.name.rstrip("/"), header.type, header.size)


def test_memory_is_one_piece_however_large_a_member_that_is_not_wanted():
    class Zeros:
        """An archive of one member of 3 GiB, made as it is read."""

        def __init__(self):
            header = tarfile.TarInfo("huge.jpg")
            header.size = 3 << 30
            self._head = header.tobuf()
            self.largest = 0
            self.left = (200 << 20) + BLOCK  # the archive is cut

        def read(self, length):
            self.largest = max(self.largest, length)
            length = min(length, self.left)
            self.left -= length
            head, self._head = self._head[:length], self._head[length:]
            return head + bytes(length - len(head))

    stream = Zeros()
    assert list(read_members(stream, wanted=lambda _name, _length: False)) == [Fault.TRUNCATED]
    assert stream.largest <= 1 << 20
