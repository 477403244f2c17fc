import contextlib
import gzip
import hashlib

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaclip_core.blocklists import BlockListError, ImageHash, find_listed, find_listed_images, parse_lists
from metaclip_core.pairs import pair_id


def parsed(text):
    return parse_lists({"list.txt": text if isinstance(text, bytes) else text.encode()})


def listed(urls, text):
    ids = [pair_id(url, "none") for url in urls]
    pairs = pa.table({"pair_id": pa.array(ids, pa.string()), "url": pa.array(urls, pa.string())})
    return find_listed(pairs, parsed(text)).to_pylist()


def test_domain_blocks_itself_and_its_subdomains_alone():
    urls = ["http://example.org/a", "https://img.example.org/a", "http://badexample.org/a", "http://org/", None]
    assert listed(urls, "example.org") == [True, True, False, False, False]


def test_prefix_blocks_what_begins_with_it_under_http_and_https():
    urls = [
        "https://example.org/private/a",
        "http://example.org:80/%70rivate/a",
        "http://example.org/public/../private/a",
        "http://example.org/private",
        "http://img.example.org/private/a",
        "http://example.org:8080/private/a",
        "http://example.org/Private/a",
    ]
    assert listed(urls, "https://example.org/private/") == [True, True, True, False, False, False, False]
    assert listed(urls, "https://example.org") == [True, True, True, True, False, False, True]


def test_pair_id_blocks_its_pair():
    urls = ["http://a.example/1", "http://a.example/2"]
    assert listed(urls, pair_id(urls[1], "").upper()) == [False, True]


def test_address_of_an_ip_blocks_no_other_ip():
    assert listed(["http://192.0.2.1/a", "http://10.192.0.2.1/"], "192.0.2.1") == [True, False]
    assert listed(["http://192.0.2.1/a"], "2.1\na.example") == [False]


def test_either_spelling_of_an_international_domain_blocks_the_other():
    urls = ["http://bücher.example/a", "http://xn--bcher-kva.example/a", "http://BÜCHER.example./a"]
    for line in ("bücher.example", "XN--BCHER-KVA.example", "BÜCHER.example."):
        assert listed(urls, line) == [True, True, True]


def test_image_hashes_block_the_images_that_have_them():
    images = [b"one", b"two", b"three"]
    block_list = parsed(f"sha256:{hashlib.sha256(b'one').hexdigest()}\nMD5:{ImageHash.MD5.digest(b'three').upper()}")
    digests = pa.table({name.value: [name.digest(image) for image in images] for name in ImageHash})
    assert find_listed_images(digests, block_list).to_pylist() == [True, False, True]


def test_image_without_a_digest_is_not_listed():
    block_list = parsed("sha256:" + "0" * 64)
    assert find_listed_images(pa.table({"sha256": pa.array([None], pa.string())}), block_list).to_pylist() == [False]


def test_comments_blanks_and_line_ends_of_any_kind_are_passed_over():
    text = "\ufeff# a list\r\n\r\nexample.org  # of ours\n\t b.example \n#c.example\nhttp://d.example/#e\n"
    block_list = parsed(text)
    assert block_list.domains == {"example.org", "b.example"}
    assert block_list.prefixes == {"d.example": {"d.example/"}}
    assert not block_list.broken


@pytest.mark.parametrize(
    "line", ["word", "example.org:80", "0.0.0.0 a.example", "*.a.example", "sha256:12", "a@b.c", "http://"]
)
def test_line_that_names_nothing_is_counted_and_the_first_is_told(line):
    assert parsed(f"a.example\n{line}\nword\n").broken == {"list.txt": (2, line)}


def test_lists_together_name_what_each_names():
    together = parse_lists({"a": b"a.example", "b": gzip.compress(b"b.example\nno domain")})
    assert together.domains == {"a.example", "b.example"}
    assert together.broken == {"b": (1, "no domain")}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "list.txt .* it is empty"),
        (b"# nothing\n\n", "list.txt .* it is empty"),
        (b"word\nand word\n", "list.txt .* none of its 2 lines, as 'word'"),
        (b"\xff\xfea\0.\0e\0x\0", "list.txt is no text"),
        (b"a.example\n\0", "list.txt is no text"),
        (gzip.compress(b"a.example")[:-3], "list.txt is no whole gzip file"),
        (b"\x1f\x8bgarbage", "list.txt is no whole gzip file"),
    ],
)
def test_file_that_is_no_list_is_refused_by_name(data, message):
    with pytest.raises(BlockListError, match=message):
        parsed(data)


def refused_or_parsed(data):
    with contextlib.suppress(BlockListError):
        assert find_listed(pa.table({"pair_id": ["0" * 24], "url": ["http://a.example/"]}), parsed(data))


LINES = st.sampled_from(["a.example", "http://a.example/b", "sha256:" + "a" * 64, "0" * 24, "# c", "word", "ü.example"])


@settings(max_examples=300)
@given(
    st.binary() | st.lists(LINES | st.text(max_size=12)).map(lambda lines: "\n".join(lines).encode("utf-8", "replace"))
)
@example(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03")
def test_any_bytes_are_a_list_or_are_refused(data):
    refused_or_parsed(data)


@given(st.integers(0, 60), st.integers(0, 255))
def test_any_broken_gzip_file_is_a_list_or_is_refused(position, byte):
    data = bytearray(gzip.compress(b"a.example\nb.example\n" * 3, mtime=0))
    data[position % len(data)] = byte
    refused_or_parsed(bytes(data))


labels = st.sampled_from(["a", "b", "ab", "B"])
hosts = st.builds(".".join, st.lists(labels, min_size=1, max_size=3).map(lambda some: [*some, "example"]))
paths = st.lists(st.sampled_from(["a", "ab", "a.jpg"]), max_size=3).map("/".join)
addresses = st.builds("{}://{}/{}".format, st.sampled_from(["http", "https"]), hosts, paths)


def is_listed(url, lines):
    """The slow and obvious way."""
    host, _, path = url.partition("://")[2].partition("/")
    host = host.lower()
    for line in lines:
        if "://" in line:
            named, _, beginning = line.partition("://")[2].partition("/")
            if host == named.lower() and path.startswith(beginning):
                return True
        elif line == pair_id(url, "") or host == line.lower() or host.endswith("." + line.lower()):
            return True
    return False


@given(
    st.lists(addresses, max_size=12),
    st.lists(hosts | addresses | addresses.map(lambda url: pair_id(url, "")), min_size=1),
)
def test_listed_pairs_are_those_of_a_plain_loop(urls, lines):
    assert listed(urls, "\n".join(lines)) == [is_listed(url, lines) for url in urls]
