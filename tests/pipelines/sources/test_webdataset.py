import functools
import gzip
import io
import itertools
import json
import tarfile
import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import PAIR, DropReason, Stage, check
from pipelines.config.pool import PoolConfig
from pipelines.errors import UserError
from pipelines.sources.webdataset import WebDatasetSource
from tests.pipelines.sources.raw_pairs import assert_reads_the_same, read_pairs
from tests.pipelines.sources.watched import Watched

LIMITS = PoolConfig(max_image_bytes=5_000, max_metadata_bytes=3_000, max_caption_chars=50)
SHARD = "deep/00.tar"
RNG = np.random.default_rng(0)


def metadata(*texts, url="http://host/a.jpg", **more):
    content = {"url": url, "texts": [{"type": "alt", "text": text} for text in texts], **more}
    return json.dumps(content).encode()


def archive_of(*members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


class Pool:
    """A pool of one shard in a folder."""

    def __init__(self, folder):
        self._folder = folder
        self.source = WebDatasetSource(LIMITS, uri=str(folder))
        self.funnel = Funnel()

    def put(self, data, name=SHARD):
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)

    def read(self, data, *, batch_rows=1000, name=SHARD):
        """The pairs of a shard with these bytes, as dicts."""
        self.put(data, name)
        self.funnel = Funnel()
        tables = list(self.source.read_captions(name, shard=3, batch_rows=batch_rows, funnel=self.funnel))
        assert all(0 < table.num_rows <= batch_rows for table in tables)
        return pa.concat_tables(
            [PAIR.empty_table(), *(check(table, PAIR, stage="test") for table in tables)]
        ).to_pylist()

    def images(self, pairs, name=SHARD):
        offsets, lengths = [p["image_offset"] for p in pairs], [p["image_length"] for p in pairs]
        return list(self.source.read_images(name, offsets, lengths))

    def dropped(self, stage):
        return {record["stage"]: record["dropped"] for record in self.funnel.to_records()}[stage]


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return Pool(tmp_path_factory.mktemp("pool"))


def texts_of(pair):
    return [caption["text"] for caption in pair["captions"]]


@pytest.mark.parametrize("order", list(itertools.permutations(["a.jpg", "a.json", "a.txt"])))
def test_members_of_a_key_in_any_order_are_one_pair(pool, order):
    contents = {"a.jpg": b"image", "a.json": metadata("one", "two"), "a.txt": b"not needed"}
    (pair,) = pool.read(archive_of(*[(name, contents[name]) for name in order], ("b.jpg", b""), ("b.txt", b"x")))[:1]
    assert pair["captions"] == [{"kind": "alt", "text": "one"}, {"kind": "alt", "text": "two"}]
    assert (pair["shard"], pair["row"], pair["pair_id"]) == (3, 0, pair_id("http://host/a.jpg", ""))
    assert pair["url"] == "http://host/a.jpg"
    assert pool.images([pair]) == [b"image"]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg", "png", "webp", "JPG", "Png"])
def test_image_of_any_known_suffix_is_found(pool, suffix):
    (pair,) = pool.read(archive_of(("a.json", metadata("x")), (f"a.{suffix}", b"bytes")))
    assert pool.images([pair]) == [b"bytes"]


def test_keys_with_dots_and_folders_end_at_the_last_dot(pool):
    files = [("v1.0/a.b.jpg", b"1"), ("v1.0/a.b.txt", b"one"), ("v1.0/a.c.jpg", b"2"), ("v1.0/a.c.txt", b"two")]
    pairs = pool.read(archive_of(*files))
    assert [texts_of(pair) for pair in pairs] == [["one"], ["two"]]
    assert [pair["pair_id"] for pair in pairs] == [pair_id(None, f"{SHARD}/v1.0/a.{key}") for key in "bc"]


def test_text_file_alone_is_one_alt_text(pool):
    (pair,) = pool.read(archive_of(("a.jpg", b"i"), ("a.txt", "ein Hund 🐶\n".encode())))
    assert pair["captions"] == [{"kind": "alt", "text": "ein Hund 🐶\n"}]


def test_text_file_serves_where_the_json_has_no_texts(pool):
    (pair,) = pool.read(archive_of(("a.jpg", b"i"), ("a.json", b'{"url": "http://x"}'), ("a.txt", b"alt")))
    assert (texts_of(pair), pair["pair_id"]) == (["alt"], pair_id("http://x", ""))


TWO = [{"kind": "alt", "text": "one"}, {"kind": "title", "text": "two"}]


@pytest.mark.parametrize("key", ["texts", "captions"])
@pytest.mark.parametrize(
    "texts",
    [
        [{"type": "alt", "text": "one"}, {"type": "title", "text": "two"}],
        [{"kind": "alt", "text": "one"}, {"kind": "title", "text": "two"}],
        [["alt", "one"], ["title", "two"]],
        [["alt", "one"], {"type": "title", "text": "two"}],
    ],
)
@pytest.mark.parametrize("spelt", [lambda texts: texts, json.dumps])
def test_texts_of_any_known_layout_are_the_captions(pool, key, texts, spelt):
    content = json.dumps({"url": "http://x", key: spelt(texts), "caption": "one"}).encode()
    [pair] = pool.read(archive_of(("a.jpg", b"i"), ("a.json", content), ("a.txt", b"one")))
    assert pair["captions"] == TWO


def test_texts_win_over_captions(pool):
    content = json.dumps({"texts": [["alt", "one"]], "captions": [["alt", "two"]]}).encode()
    [pair] = pool.read(archive_of(("a.jpg", b"i"), ("a.json", content)))
    assert texts_of(pair) == ["one"]


any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["url", "texts", "type", "text"]) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
near_metadata = st.fixed_dictionaries(
    {},
    optional={
        "url": any_json | st.text(),
        "texts": st.lists(
            st.fixed_dictionaries({}, optional={"type": any_json | st.text(), "text": any_json | st.text()})
        )
        | any_json,
    },
)


def usable(text):
    """A caption's text as the source should take it, of texts that JSON wrote from sound strings; else None."""
    match text:
        case {"type": str(kind), "text": str(found)} | [str(kind), str(found)]:
            return found if found.strip() and len(found) <= 50 and "\ufffd" not in found + kind else None
    return None


def assert_adds_up(pool, pairs):
    """The funnel accounts for every row and for every caption."""
    records = {record["stage"]: record for record in pool.funnel.to_records()}
    for record in records.values():
        assert record["rows_in"] == record["rows_out"] + sum(record["dropped"].values())
    assert records[Stage.SHARDS]["rows_in"] == 1
    assert records.get(Stage.READ, {"rows_out": 0})["rows_out"] == len(pairs)
    assert all(pair["captions"] for pair in pairs)


@settings(deadline=None)
@given(st.lists(near_metadata | any_json, max_size=4))
def test_json_of_any_shape_gives_pairs_or_counted_rows(pool, contents):
    members = [
        member
        for i, content in enumerate(contents)
        for member in ((f"{i}.jpg", b"i"), (f"{i}.json", json.dumps(content).encode()))
    ]
    pairs = pool.read(archive_of(*members))
    assert_adds_up(pool, pairs)
    for pair in pairs:
        content = contents[pair["row"]]
        texts = json.loads(content["texts"]) if isinstance(content["texts"], str) else content["texts"]
        assert texts_of(pair) == [usable(text) for text in texts if usable(text) is not None]
        assert pair["pair_id"] == pair_id(content.get("url"), f"{SHARD}/{pair['row']}")


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_json_of_any_bytes_gives_a_pair_or_a_counted_row(pool, data):
    pairs = pool.read(archive_of(("a.jpg", b"i"), ("a.json", data)))
    assert_adds_up(pool, pairs)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", DropReason.BAD_METADATA),
        (b"{", DropReason.BAD_METADATA),
        (b"[]", DropReason.BAD_METADATA),
        (b"null", DropReason.BAD_METADATA),
        (b"[" * 2_900, DropReason.BAD_METADATA),
        (b'{"texts": {}}', DropReason.BAD_METADATA),
        (b'{"texts": [], "url": 3}', DropReason.BAD_METADATA),
        (b"\xff\xfe{", DropReason.BAD_METADATA),
        (b'{"texts": "no JSON"}', DropReason.BAD_METADATA),
        (b'{"texts": "{}"}', DropReason.BAD_METADATA),
        (b'{"texts": "\\"[]\\""}', DropReason.BAD_METADATA),
        (json.dumps({"captions": "[" * 2_900}).encode(), DropReason.BAD_METADATA),
        (b'{"captions": null}', DropReason.BAD_METADATA),
        (b'{"captions": "[]"}', DropReason.NO_CAPTION),
        (b"{}", DropReason.NO_CAPTION),
        (b'{"texts": []}', DropReason.NO_CAPTION),
        (metadata(" ", "\n\t"), DropReason.NO_CAPTION),
        (metadata("x" * 4_000), DropReason.METADATA_BYTES_OVER_LIMIT),
    ],
)
def test_pair_with_unusable_metadata_is_dropped_for_its_reason(pool, content, reason):
    assert pool.read(archive_of(("a.jpg", b"i"), ("a.json", content))) == []
    assert pool.dropped(Stage.READ) == {reason: 1}


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.json", metadata("x"))], DropReason.NO_IMAGE),
        ([("a.gif", b"i"), ("a.json", metadata("x"))], DropReason.NO_IMAGE),
        ([("a.jpg", b"i" * 5_001), ("a.json", metadata("x"))], DropReason.IMAGE_BYTES_OVER_LIMIT),
        ([("a.jpg", b"i"), ("a.txt", b"x" * 3_001)], DropReason.METADATA_BYTES_OVER_LIMIT),
        ([("a.jpg", b"i")], DropReason.NO_CAPTION),
        ([("README", b"x")], DropReason.NO_IMAGE),
    ],
)
def test_pair_without_what_it_needs_is_dropped_for_its_reason(pool, members, reason):
    assert pool.read(archive_of(*members)) == []
    assert pool.dropped(Stage.READ) == {reason: 1}


def test_image_metadata_and_caption_exactly_at_their_limits_are_kept(pool):
    text = "x" * 50
    content = metadata(text)
    content += b" " * (3_000 - len(content))
    (pair,) = pool.read(archive_of(("a.jpg", b"i" * 5_000), ("a.json", content)))
    assert texts_of(pair) == [text]
    assert pool.images([pair]) == [b"i" * 5_000]


BAD_TEXTS = {
    '{"type": "alt", "text": ""}': DropReason.CAPTION_EMPTY,
    '{"type": "alt", "text": " \\u3000\\n"}': DropReason.CAPTION_EMPTY,
    '{"type": "alt", "text": "' + "x" * 51 + '"}': DropReason.CAPTION_OVER_LIMIT,
    '{"type": "alt", "text": "a\\ud800b"}': DropReason.CAPTION_BROKEN_TEXT,
    '{"type": "alt", "text": "\\udc00"}': DropReason.CAPTION_BROKEN_TEXT,
    '{"type": "\\ud800", "text": "a"}': DropReason.CAPTION_BROKEN_TEXT,
    '{"type": "alt", "text": "a\udcff"}': DropReason.CAPTION_BROKEN_TEXT,  # the byte ff, no UTF-8
    '{"type": "alt", "text": null}': DropReason.CAPTION_BAD_SHAPE,
    '{"type": 1, "text": "a"}': DropReason.CAPTION_BAD_SHAPE,
    '{"text": "a"}': DropReason.CAPTION_BAD_SHAPE,
    '["alt"]': DropReason.CAPTION_BAD_SHAPE,
    '["alt", "a", "b"]': DropReason.CAPTION_BAD_SHAPE,
    '["alt", 3]': DropReason.CAPTION_BAD_SHAPE,
    '[["alt"], "a"]': DropReason.CAPTION_BAD_SHAPE,
    '["alt", "\\ud800"]': DropReason.CAPTION_BROKEN_TEXT,
    '"a"': DropReason.CAPTION_BAD_SHAPE,
    "7": DropReason.CAPTION_BAD_SHAPE,
}


@pytest.mark.parametrize("bad", BAD_TEXTS)
def test_bad_caption_is_counted_and_leaves_the_others_of_its_pair(pool, bad):
    content = '{"texts": [{"type": "alt", "text": "good"}, ' + bad + ', {"type": "title", "text": "too"}]}'
    (pair,) = pool.read(archive_of(("a.jpg", b"i"), ("a.json", content.encode("utf-8", "surrogateescape"))))
    assert pair["captions"] == [{"kind": "alt", "text": "good"}, {"kind": "title", "text": "too"}]
    assert pool.dropped(Stage.CAPTIONS) == {BAD_TEXTS[bad]: 1}


@pytest.mark.parametrize(
    "text", ["nul\0inside", "pair \U0001f600 of surrogates", "e\u0301", "\u202eright to left", "</s>"]
)
def test_unusual_but_sound_text_is_kept_as_it_is(pool, text):
    (pair,) = pool.read(archive_of(("a.jpg", b"i"), ("a.json", metadata(text))))
    assert texts_of(pair) == [text]


def test_broken_utf8_in_a_text_file_is_counted(pool):
    assert pool.read(archive_of(("a.jpg", b"i"), ("a.txt", b"caf\xe9"))) == []
    assert pool.dropped(Stage.CAPTIONS) == {DropReason.CAPTION_BROKEN_TEXT: 1}


@pytest.mark.parametrize("url", ["http://host/a b.jpg", "http://host/a\tb.jpg", " http://host/ab.jpg\t"])
def test_url_with_blanks_and_tabs_names_the_same_pair_as_without(pool, url):
    (pair,) = pool.read(archive_of(("a.jpg", b"i"), ("a.json", metadata("x", url=url))))
    assert pair["pair_id"] == pair_id("http://host/ab.jpg", "")


@pytest.mark.parametrize("url", [None, "", " \t"])
def test_pair_without_url_is_named_by_shard_and_key(pool, url):
    (pair,) = pool.read(archive_of(("k.jpg", b"i"), ("k.json", metadata("x", url=url))))
    assert pair["pair_id"] == pair_id(None, f"{SHARD}/k")


def test_pair_that_states_its_id_keeps_it_with_and_without_a_url(pool):
    for url in ("http://host/a.jpg", None):
        (pair,) = pool.read(archive_of(("k.jpg", b"i"), ("k.json", metadata("x", url=url, pair_id="0a" * 12))))
        assert (pair["pair_id"], pair["url"]) == ("0a" * 12, url)


@pytest.mark.parametrize("stated", ["", "0A" * 12, "0a" * 13, 7, None, ["0a" * 12], {}])
def test_pair_that_states_no_sound_id_is_named_by_its_url(pool, stated):
    (pair,) = pool.read(archive_of(("k.jpg", b"i"), ("k.json", metadata("x", pair_id=stated))))
    assert pair["pair_id"] == pair_id("http://host/a.jpg", "")


def test_url_with_a_lone_surrogate_is_a_name_like_any_other(pool):
    (pair,) = pool.read(archive_of(("k.jpg", b"i"), ("k.json", metadata("x", url="http://\ud800"))))
    assert (len(pair["pair_id"]), pair["url"]) == (24, "http://?")


def sample_members(number, *, bad=False):
    """A pair whose image tells its number."""
    image = f"image {number} ".encode() * (1 + 37 * number % 90)
    return [(f"{number}.jpg", image), (f"{number}.json", b"?" if bad else metadata(f"text {number}", url=None))]


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=12), st.integers(1, 5))
def test_rows_count_bad_keys_and_offsets_point_at_the_images(pool, bad, batch_rows):
    members = [member for number, is_bad in enumerate(bad) for member in sample_members(number, bad=is_bad)]
    pairs = pool.read(archive_of(*members), batch_rows=batch_rows)
    good = [number for number, is_bad in enumerate(bad) if not is_bad]
    assert [pair["row"] for pair in pairs] == good
    assert [texts_of(pair) for pair in pairs] == [[f"text {number}"] for number in good]
    contents = dict(members)
    assert pool.images(pairs) == [contents[f"{number}.jpg"] for number in good]
    assert pool.images(pairs[::-1]) == [contents[f"{number}.jpg"] for number in good[::-1]]
    assert_adds_up(pool, pairs)
    assert_reads_the_same(pool.source, SHARD, batch_rows=batch_rows, batch_bytes=1_500)


def test_batches_of_any_size_hold_the_same_rows(pool):
    data = archive_of(*[member for number in range(7) for member in sample_members(number)])
    assert pool.read(data, batch_rows=1) == pool.read(data, batch_rows=3) == pool.read(data)


SEVEN = [member for number in range(7) for member in sample_members(number)]


class CountedStore(pafs.FSSpecHandler):
    """A store that counts the bytes it sends."""

    num_bytes = 0

    def open_input_file(self, path):
        return pa.PythonFile(_Counted(self, self.fs.cat_file(path)), mode="r")


class _Counted(io.BytesIO):
    def __init__(self, store, data):
        super().__init__(data)
        self._store = store

    def read(self, length=-1):
        data = super().read(length)
        self._store.num_bytes += len(data)
        return data


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_pairs_are_read_with_their_images_once(tmp_path, name):
    fsspec = pytest.importorskip("fsspec")
    noise = [(f"{i}{end}", data) for i in range(900) for end, data in ((".jpg", RNG.bytes(4_000)), (".txt", b"x"))]
    data = archive_of(*noise)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    source, store = WebDatasetSource(LIMITS, uri=str(tmp_path)), CountedStore(fsspec.filesystem("file"))
    source._filesystem = pafs.PyFileSystem(store)
    pairs, images, _ = read_pairs(source, name)
    assert (len(pairs), images) == (900, [data for _, data in noise[::2]])
    assert store.num_bytes <= (tmp_path / name).stat().st_size


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_memory_of_pairs_with_images_is_a_few_batches(tmp_path, name):
    data = archive_of(
        *[(f"{i}{end}", part) for i in range(5_000) for end, part in ((".jpg", bytes(5_000)), (".txt", b"x"))]
    )
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("gz") else data)
    source = WebDatasetSource(LIMITS, uri=str(tmp_path))
    tracemalloc.start()
    batches = source.read_pairs(name, shard=0, batch_rows=10_000, batch_bytes=1 << 20, funnel=Funnel())
    assert sum(pairs.table.num_rows for pairs in batches) == 5_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(data) > 30_000_000
    assert peak < 9 << 20


def test_shard_that_is_cut_keeps_what_stands_before_the_cut_and_is_counted(pool):
    data = archive_of(*SEVEN)
    whole = pool.read(data)
    assert pool.dropped(Stage.SHARDS) == {}
    for cut in [600, 2_000, 5_000, len(data.rstrip(b"\0")) - 1]:
        pairs = pool.read(data[:cut])
        assert pairs == whole[: len(pairs)]
        assert len(pairs) < len(whole)
        assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_TRUNCATED: 1}
        assert_adds_up(pool, pairs)


@pytest.mark.parametrize("data", [b"", b"garbage" * 1_000, b"\x1f\x8b\x08" + bytes(range(1, 256)) * 9])
def test_shard_that_is_no_archive_is_counted_as_unreadable(pool, data):
    assert pool.read(data) == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}


@pytest.mark.parametrize("name", ["00.tar.gz", "00.tgz"])
def test_gzipped_shard_gives_the_pairs_and_images_of_the_plain_one(pool, name):
    data = archive_of(*SEVEN)
    plain = pool.read(data)
    for gzipped in (gzip.compress(data), gzip.compress(data[:3_000]) + gzip.compress(data[3_000:])):
        pairs = pool.read(gzipped, name=name, batch_rows=2)
        assert [{**pair, "pair_id": None} for pair in pairs] == [{**pair, "pair_id": None} for pair in plain]
        assert pool.dropped(Stage.SHARDS) == {}
        assert pool.images(pairs[::-2], name) == pool.images(plain)[::-2]


def test_gzipped_shard_that_is_cut_or_broken_keeps_what_stands_before_and_is_counted(pool):
    members = [(f"{i}{end}", data) for i in range(40) for end, data in ((".jpg", RNG.bytes(900)), (".txt", b"x"))]
    data = archive_of(*members)
    for hurt in (gzip.compress(data)[:-5_000], gzip.compress(data[:50_000]) + b"\xff" * 5_000):
        pairs = pool.read(hurt, name="00.tar.gz")
        assert 10 < len(pairs) < 40
        assert pool.images(pairs, "00.tar.gz") == [members[2 * pair["row"]][1] for pair in pairs]
        assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_TRUNCATED: 1}
        assert_adds_up(pool, pairs)


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"no archive" * 100), archive_of(("a.jpg", b"i"))])
def test_gzipped_shard_that_is_no_archive_is_unreadable(pool, data):
    assert pool.read(data, name="00.tar.gz") == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}


def test_shard_without_members_is_sound(pool):
    assert pool.read(archive_of()) == []
    assert pool.dropped(Stage.SHARDS) == {}


def test_broken_header_costs_its_pair_and_no_other(pool):
    data = bytearray(archive_of(*SEVEN))
    whole = pool.read(bytes(data))
    data[whole[3]["image_offset"] - 512] ^= 1
    pairs = pool.read(bytes(data))
    assert [texts_of(pair) for pair in pairs] == [texts_of(pair) for pair in whole[:3] + whole[4:]]
    assert pool.dropped(Stage.READ) == {DropReason.BAD_MEMBER: 1, DropReason.NO_IMAGE: 1}
    assert pool.dropped(Stage.SHARDS) == {}


@pytest.mark.parametrize("name", ["large.tar", "large.tgz"])
def test_passes_over_a_shard_read_each_byte_once(tmp_path, name):
    members = [(f"{row}.{suffix}", data) for row in range(40) for suffix, data in large_pair()]
    data = archive_of(*members)
    (tmp_path / name).write_bytes(gzip.compress(data, 1) if name.endswith("tgz") else data)
    size = (tmp_path / name).stat().st_size
    source = WebDatasetSource(PoolConfig(), uri=str(tmp_path))
    options = {"shard": 0, "batch_rows": 10, "funnel": Funnel()}
    for read in (source.read_captions, functools.partial(source.read_pairs, batch_bytes=1 << 20)):
        source._filesystem = Watched()
        assert sum(1 for _ in read(name, **options)) >= 4
        reads = source._filesystem.reads
        assert len(reads) > 2
        assert [offset for offset, _ in reads] == [0, *itertools.accumulate(length for _, length in reads[:-1])]
        assert size - 20 * 512 <= source._filesystem.num_bytes <= size  # behind an archive's end stand zeros


def large_pair():
    return [("jpg", RNG.bytes(100_000)), ("json", metadata("a caption"))]


class EarlyEnd(pafs.FSSpecHandler):
    """A store that knows a file's true size and ends its stream before."""

    def open_input_file(self, path):
        return pa.PythonFile(_Ends(self.fs.cat_file(path)), mode="r")


class _Ends(io.BytesIO):
    def read(self, length=-1):
        start = self.tell()
        return super().read(length)[: max(0, 3_000 - start)]


def test_store_that_ends_a_shard_early_is_an_error_and_no_truncated_shard(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    source = WebDatasetSource(LIMITS, uri=str(tmp_path))
    (tmp_path / "a.tar").write_bytes(archive_of(*SEVEN))
    source._filesystem = pafs.PyFileSystem(EarlyEnd(fsspec.filesystem("file")))
    funnel = Funnel()
    with pytest.raises(OSError, match="the store ended after 3000 of"):
        list(source.read_captions("a.tar", shard=0, batch_rows=2, funnel=funnel))
    assert funnel.to_records()[0]["dropped"] == {}


def test_shard_that_is_gone_is_an_error(tmp_path):
    source = WebDatasetSource(LIMITS, uri=str(tmp_path))
    with pytest.raises(FileNotFoundError):
        list(source.read_captions("none.tar", shard=0, batch_rows=2, funnel=Funnel()))


def test_list_shards_finds_the_tars_below_the_folder_by_name(tmp_path):
    for name in ["b.tar", "a/z.tgz", "a/notes.txt.gz", "c.tar.gz", "10.tar", "tar", "9.tar.zst"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "folder.tar").mkdir()
    listed = WebDatasetSource(LIMITS, uri=str(tmp_path)).list_shards()
    assert listed["name"].to_pylist() == ["10.tar", "a/z.tgz", "b.tar", "c.tar.gz"]
    assert listed["size"].to_pylist() == [6, 7, 5, 8]
    assert len(set(listed["identity"].to_pylist())) == 4


def test_list_shards_of_a_folder_with_a_trailing_slash_or_a_scheme_gives_the_same_names(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"")
    for uri in (str(tmp_path), f"{tmp_path}/", tmp_path.as_uri(), f"{tmp_path.as_uri()}/"):
        assert WebDatasetSource(LIMITS, uri=uri).list_shards()["name"].to_pylist() == ["a.tar"]


@pytest.mark.parametrize(("name", "message"), [("none", "no such pool"), ("empty", "holds no .tar"), ("file", "pool")])
def test_pool_that_cannot_be_read_is_an_error_for_the_user(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=message):
        WebDatasetSource(LIMITS, uri=str(tmp_path / name)).list_shards()
