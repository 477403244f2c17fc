import io

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import PAIR, DropReason, Stage, check
from pipelines.config.pool import ColumnsConfig, PoolConfig
from pipelines.errors import UserError
from pipelines.sources.parquet import ParquetSource
from pipelines.steady import StoreError
from tests.pipelines.sources.raw_pairs import assert_reads_the_same, read_pairs
from tests.pipelines.sources.watched import Watched

SHARD = "deep/00.parquet"
MIB = 1 << 20


def config_of(**columns):
    return PoolConfig(
        format="parquet", max_image_bytes=5_000, max_caption_chars=50, columns=ColumnsConfig.model_validate(columns)
    )


class Pool:
    """A pool of one shard in a folder."""

    def __init__(self, folder, **columns):
        self.folder = folder
        self.source = ParquetSource(config_of(**columns), uri=str(folder))
        self.store = self.source._filesystem = Watched()
        self.funnel = Funnel()

    def put(self, data, **options):
        path = self.folder / SHARD
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else parquet_of(data, **options))

    def read(self, data, *, batch_rows=1000, **options):
        """The pairs of a shard with these bytes, or of this table, as dicts."""
        self.put(data, **options)
        self.funnel = Funnel()
        tables = list(self.source.read_captions(SHARD, shard=3, batch_rows=batch_rows, funnel=self.funnel))
        assert all(0 < table.num_rows <= batch_rows for table in tables)
        tables = [PAIR.empty_table(), *(check(table, PAIR, stage="test") for table in tables)]
        return pa.concat_tables(tables).to_pylist()

    def images(self, pairs):
        offsets, lengths = [p["image_offset"] for p in pairs], [p["image_length"] for p in pairs]
        return list(self.source.read_images(SHARD, offsets, lengths))

    def dropped(self, stage):
        return {record["stage"]: record["dropped"] for record in self.funnel.to_records()}.get(stage, {})


def parquet_of(table, **options):
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def table_of(captions, *, images=None, urls=None, **more):
    size = len(captions)
    images = [f"image {row}".encode() for row in range(size)] if images is None else images
    captions = captions if isinstance(captions, pa.Array) else pa.array(captions)
    urls = pa.array([f"http://host/{row}" for row in range(size)] if urls is None else urls, pa.string())
    return pa.table({"url": urls, "captions": captions, "image": pa.array(images, pa.binary()), **more})


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    return Pool(tmp_path_factory.mktemp("pool"))


def texts_of(pair):
    return [caption["text"] for caption in pair["captions"]]


KIND = pa.struct([("kind", pa.string()), ("text", pa.string())])
TYPE = pa.struct([("type", pa.large_string()), ("more", pa.int8()), ("text", pa.string())])


@pytest.mark.parametrize(
    ("captions", "expected"),
    [
        (pa.array(["one", "two"]), [[("alt", "one")], [("alt", "two")]]),
        (pa.array(["one", "two"], pa.large_string()), [[("alt", "one")], [("alt", "two")]]),
        (pa.array([["one", "uno"], ["two"]]), [[("alt", "one"), ("alt", "uno")], [("alt", "two")]]),
        (
            pa.array([["a"], ["b", "c"]], pa.large_list(pa.large_string())),
            [[("alt", "a")], [("alt", "b"), ("alt", "c")]],
        ),
        (
            pa.array([[{"kind": "title", "text": "x"}], [{"kind": "alt", "text": "y"}]], pa.list_(KIND)),
            [[("title", "x")], [("alt", "y")]],
        ),
        (
            pa.array([[{"type": "title", "more": 1, "text": "x"}], [{"type": "alt", "text": "y"}]], pa.list_(TYPE)),
            [[("title", "x")], [("alt", "y")]],
        ),
    ],
)
def test_captions_of_every_form_are_read(pool, captions, expected):
    pairs = pool.read(table_of(captions))
    assert [[(c["kind"], c["text"]) for c in pair["captions"]] for pair in pairs] == expected
    assert [(pair["shard"], pair["row"]) for pair in pairs] == [(3, 0), (3, 1)]
    assert [pair["pair_id"] for pair in pairs] == [pair_id(f"http://host/{row}", "") for row in range(2)]
    assert [pair["url"] for pair in pairs] == ["http://host/0", "http://host/1"]
    assert pool.images(pairs) == [b"image 0", b"image 1"]


def not_utf8(*cells):
    return pa.array(cells, pa.binary()).view(pa.string())


def test_bad_captions_are_dropped_each_for_its_reason(pool):
    texts = ["good", "", " \u3000\n", "x" * 51, None]
    (pair,) = pool.read(table_of(pa.array([texts])))
    assert texts_of(pair) == ["good"]
    assert pool.dropped(Stage.CAPTIONS) == {
        DropReason.CAPTION_EMPTY: 2,
        DropReason.CAPTION_OVER_LIMIT: 1,
        DropReason.CAPTION_BAD_SHAPE: 1,
    }
    pairs = pool.read(table_of(not_utf8(b"caf\xe9", b"sound", b"\xff")))
    assert [(pair["row"], texts_of(pair)) for pair in pairs] == [(1, ["sound"])]
    assert pool.dropped(Stage.CAPTIONS) == {DropReason.CAPTION_BROKEN_TEXT: 2}


def test_rows_without_captions_are_dropped_and_keep_their_number(pool):
    pairs = pool.read(table_of(pa.array([None, [], ["a"], [None], [" "], ["b"]], pa.list_(pa.string()))))
    assert [(pair["row"], texts_of(pair)) for pair in pairs] == [(2, ["a"]), (5, ["b"])]
    assert pool.dropped(Stage.READ) == {DropReason.NO_CAPTION: 4}


@pytest.mark.parametrize("url", [None, "", " \t"])
def test_pair_without_url_is_named_by_shard_and_key_or_row(pool, url, tmp_path):
    pairs = pool.read(table_of(["a", "b"], urls=[url, url]))
    assert [pair["pair_id"] for pair in pairs] == [pair_id(None, f"{SHARD}/{row}") for row in range(2)]
    for keys in (["k0", None], [7, None]):
        keyed = Pool(tmp_path, key="key")
        pairs = keyed.read(table_of(["a", "b"], urls=[url, url], key=pa.array(keys)))
        assert [pair["pair_id"] for pair in pairs] == [pair_id(None, f"{SHARD}/{key}") for key in (keys[0], 1)]


def test_pairs_that_state_their_id_keep_it_and_others_are_named_by_url_or_row(tmp_path):
    stated = ["0a" * 12, "0b" * 12, "0A" * 12, None, ""]
    urls = ["http://host/0", None, "http://host/2", "http://host/3", None]
    pairs = Pool(tmp_path, pair_id="id").read(table_of(["a"] * 5, urls=urls, id=stated))
    by_url = [pair_id(url, f"{SHARD}/{row}") for row, url in enumerate(urls)]
    assert [pair["pair_id"] for pair in pairs] == [*stated[:2], *by_url[2:]]
    pairs = Pool(tmp_path).read(
        table_of(["a"] * 5, urls=urls, pair_id=stated)
    )  # a column that the recipe does not name
    assert [pair["pair_id"] for pair in pairs] == by_url


def test_pool_without_a_url_column_is_named_by_row(tmp_path):
    (pair,) = Pool(tmp_path, url=None).read(table_of(["a"]).drop_columns("url"))
    assert pair["pair_id"] == pair_id(None, f"{SHARD}/0")


def test_images_that_are_missing_or_too_large_are_told_when_they_are_asked_for(pool):
    pairs = pool.read(table_of(["a", "b", "c", "d"], images=[b"x", None, b"x" * 5_001, b"x" * 5_000]))
    expected = [b"x", DropReason.NO_IMAGE, DropReason.IMAGE_BYTES_OVER_LIMIT, b"x" * 5_000]
    assert pool.images(pairs) == expected
    assert pool.images([]) == []
    assert_reads_the_same(pool.source, SHARD, batch_bytes=5_000)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(1, 9), st.integers(1, 7), st.data())
def test_any_rows_of_any_row_groups_give_their_images(pool, good, group_rows, batch_rows, data):
    captions = [f"text {row}" if is_good else None for row, is_good in enumerate(good)]
    images = [f"image {row} ".encode() * (1 + 37 * row % 90) for row in range(len(good))]
    table = table_of(pa.array(captions, pa.string()), images=images)
    pairs = pool.read(table, batch_rows=batch_rows, row_group_size=group_rows)
    assert [pair["row"] for pair in pairs] == [row for row, is_good in enumerate(good) if is_good]
    kept = [pair for pair in pairs if data.draw(st.booleans())]
    assert pool.images(kept) == [images[pair["row"]] for pair in kept]
    assert_adds_up(pool, pairs)
    assert_reads_the_same(pool.source, SHARD, batch_rows=batch_rows, batch_bytes=data.draw(st.integers(0, 9_000)))


def assert_adds_up(pool, pairs):
    """The funnel accounts for every row and for every caption."""
    records = {record["stage"]: record for record in pool.funnel.to_records()}
    for record in records.values():
        assert record["rows_in"] == record["rows_out"] + sum(record["dropped"].values())
        assert record["rows_out"] >= 0
    assert records[Stage.SHARDS]["rows_in"] == 1
    assert records.get(Stage.READ, {"rows_out": 0})["rows_out"] == len(pairs)
    assert all(pair["captions"] for pair in pairs)


LARGE = [np.random.default_rng(row).bytes(100_000) for row in range(60)]


def test_captions_only_pass_reads_no_image(pool):
    pool.store.num_bytes = 0
    pairs = pool.read(table_of([f"text {row}" for row in range(60)], images=LARGE), row_group_size=20)
    assert len(pairs) == 60
    assert pool.store.num_bytes < 80_000  # a footer's read takes the last 64 kB, whatever they are


def test_kept_images_read_no_row_group_without_one(pool, monkeypatch):
    monkeypatch.setattr(pool.source, "_pool", PoolConfig(format="parquet"))
    pool.put(table_of([f"text {row}" for row in range(60)], images=LARGE), row_group_size=10)
    pool.store.num_bytes = 0
    assert list(pool.source.read_images(SHARD, [11, 14, 37], [1, 1, 1])) == [LARGE[11], LARGE[14], LARGE[37]]
    assert 2 * MIB > pool.store.num_bytes > 1 * MIB  # of 6


def test_pairs_are_read_with_their_images_once(pool, monkeypatch):
    monkeypatch.setattr(pool.source, "_pool", PoolConfig(format="parquet"))
    pool.put(table_of([f"text {row}" for row in range(60)], images=LARGE), row_group_size=10)
    pool.store.num_bytes = 0
    pairs, images, _ = read_pairs(pool.source, SHARD, batch_bytes=MIB)
    assert (len(pairs), images) == (60, LARGE)
    assert pool.store.num_bytes < (pool.folder / SHARD).stat().st_size + 80_000  # and the footer


def test_images_are_read_lazily(pool, monkeypatch):
    monkeypatch.setattr(pool.source, "_pool", PoolConfig(format="parquet"))
    pool.put(table_of([f"text {row}" for row in range(60)], images=LARGE), row_group_size=10)
    pool.store.num_bytes = 0
    images = pool.source.read_images(SHARD, list(range(60)), [1] * 60)
    assert next(images) == LARGE[0]
    assert pool.store.num_bytes < 2 * MIB
    images.close()


PATHS = {
    "images/0.jpg": b"image 0",
    "images/größe ü.jpg": b"image 1",
    "none.jpg": DropReason.NO_IMAGE,
    "images": DropReason.NO_IMAGE,
    "images/0.jpg/more": DropReason.NO_IMAGE,
    "x" * 300: DropReason.NO_IMAGE,
    "images/large.jpg": DropReason.IMAGE_BYTES_OVER_LIMIT,
    "images/empty.jpg": b"",
}
OUTSIDE = ["../secret", "images/../../secret", "/etc/hostname", "", "a\0b", None, ".", ".."]


def test_images_by_path_are_read_from_below_the_pool_alone(tmp_path):
    (tmp_path / "secret").write_bytes(b"no image")
    (tmp_path / "pool/images").mkdir(parents=True)
    contents = {"0": b"image 0", "größe ü": b"image 1", "large": b"x" * 5_001, "empty": b""}
    for name, content in contents.items():
        (tmp_path / f"pool/images/{name}.jpg").write_bytes(content)
    pool = Pool(tmp_path / "pool", image=None, image_path="file")
    files = [*OUTSIDE, *PATHS]
    table = table_of([f"text {row}" for row in range(len(files))], file=pa.array(files))
    pairs = pool.read(table, row_group_size=5)
    assert [pair["row"] for pair in pairs] == list(range(len(OUTSIDE), len(files)))
    assert pool.dropped(Stage.READ) == {DropReason.NO_IMAGE: len(OUTSIDE)}
    assert pool.images(pairs) == list(PATHS.values())
    assert pool.images(pairs[1::2]) == list(PATHS.values())[1::2]
    assert_reads_the_same(pool.source, SHARD)
    everything = [{"image_offset": row, "image_length": 1} for row in range(len(files))]
    assert pool.images(everything) == [DropReason.NO_IMAGE] * len(OUTSIDE) + list(PATHS.values())


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (table_of(["a"]).drop_columns("captions"), "captions"),
        (table_of(["a"]).drop_columns("url"), "url"),
        (table_of(["a"]).drop_columns("image"), "image"),
        (table_of([1]), "captions"),
        (table_of([[1]]), "captions"),
        (table_of([[["a"]]]), "captions"),
        (table_of([{"text": "a"}]), "captions"),
        (table_of(["a"]).set_column(0, "url", pa.array([b"x"])), "url"),
        (table_of(["a"]).set_column(2, "image", pa.array(["x"])), "image"),
    ],
)
def test_column_that_is_missing_or_of_another_type_is_refused_by_name(pool, table, column):
    pool.put(table)
    with pytest.raises(UserError, match=rf"00\.parquet .* has .*column '{column}'.*pool\.columns\.{column}"):
        pool.source.list_shards()


def test_recipe_with_both_kinds_of_image_or_none_is_refused():
    for columns in ({"image_path": "p"}, {"image": None}):
        with pytest.raises(ValueError, match="give one of image and image_path"):
            ColumnsConfig.model_validate(columns)


def test_one_shard_without_the_columns_is_an_unreadable_shard(pool):
    assert pool.read(table_of(["a"]).drop_columns("captions")) == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}


def test_list_shards_finds_the_parquet_files_below_the_folder_by_name(tmp_path):
    pool = Pool(tmp_path)
    pool.put(table_of(["a"]))
    for name in ("a.parquet", "0.parquet", "deep/notes.txt"):
        (tmp_path / name).write_bytes(b"garbage")
    assert pool.source.list_shards()["name"].to_pylist() == ["0.parquet", "a.parquet", SHARD]


def test_list_shards_of_no_parquet_file_is_an_error_for_the_user(tmp_path):
    with pytest.raises(UserError, match=r"holds no \.parquet"):
        Pool(tmp_path).source.list_shards()


@pytest.mark.parametrize("data", [b"", b"PAR1", b"PAR1PAR1", b"garbage" * 1_000, b"PAR1" + b"\xff" * 8 + b"PAR1"])
def test_shard_that_is_no_parquet_file_is_counted_as_unreadable(pool, data):
    assert pool.read(data) == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}
    assert_adds_up(pool, [])


SEVEN = parquet_of(table_of([[f"text {row}", "more"] for row in range(70)]), row_group_size=10)


@pytest.mark.parametrize("cut", [1, 4, 8, 9, 500, len(SEVEN) // 2, len(SEVEN) - 4, len(SEVEN) - 1])
def test_shard_that_is_cut_is_counted_as_unreadable(pool, cut):
    assert pool.read(SEVEN[:-cut]) == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}


def test_shard_without_rows_is_sound(pool):
    assert pool.read(table_of(pa.array([], pa.string()))) == []
    assert pool.dropped(Stage.SHARDS) == {}


def chunk_of(data, group, column):
    """Where the pages of a column lie."""
    row_group = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(group)
    chunks = [row_group.column(index) for index in range(row_group.num_columns)]
    chunk = next(chunk for chunk in chunks if chunk.path_in_schema.startswith(column))
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    return start, start + chunk.total_compressed_size


def test_row_group_of_garbage_costs_its_rows_and_no_others(pool):
    data = bytearray(SEVEN)
    start, stop = chunk_of(SEVEN, 3, "captions")
    data[start:stop] = b"\xff" * (stop - start)
    whole = pool.read(SEVEN)
    pairs = pool.read(bytes(data))
    assert pairs == [pair for pair in whole if not 30 <= pair["row"] < 40]
    assert pool.dropped(Stage.READ) == {DropReason.BAD_MEMBER: 10}
    assert pool.dropped(Stage.SHARDS) == {}


def test_images_of_garbage_are_broken_and_their_neighbours_are_not(pool):
    data = bytearray(SEVEN)
    start, stop = chunk_of(SEVEN, 3, "image")
    data[start:stop] = b"\xff" * (stop - start)
    pairs = pool.read(bytes(data))
    expected = [DropReason.IMAGE_BROKEN if 30 <= row < 40 else f"image {row}".encode() for row in range(70)]
    assert pool.images(pairs) == expected
    assert_reads_the_same(pool.source, SHARD)


def test_store_that_fails_is_an_error_and_no_reason_to_drop(pool):
    pool.put(SEVEN)
    captions = chunk_of(SEVEN, 3, "captions")[0]
    source, funnel = ParquetSource(config_of(), uri=str(pool.folder)), Funnel()
    source._filesystem = Watched()
    batches = source.read_captions(SHARD, shard=0, batch_rows=10, funnel=funnel)
    assert next(batches).num_rows == 10
    source._filesystem.fails_from = captions
    with pytest.raises(StoreError, match="SLOW_DOWN"):
        list(batches)
    with pytest.raises(StoreError, match="SLOW_DOWN"):
        list(source.read_captions(SHARD, shard=0, batch_rows=10, funnel=funnel))
    assert funnel.dropped == {}


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(SEVEN) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_shard_with_any_bytes_changed_is_accounted_for(pool, changes):
    data = bytearray(SEVEN)
    for at, value in changes:
        data[at] = value
    assert_survives(pool, bytes(data))


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=300), st.integers(0, len(SEVEN)), st.integers(0, len(SEVEN)))
def test_shard_with_garbage_inside_is_accounted_for(pool, garbage, start, stop):
    assert_survives(pool, SEVEN[: min(start, stop)] + garbage + SEVEN[max(start, stop) :])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=400))
def test_footer_of_garbage_is_accounted_for(pool, footer):
    assert_survives(pool, SEVEN[:-2_000] + footer + len(footer).to_bytes(4, "little") + b"PAR1")


def assert_survives(pool, data):
    pairs = pool.read(data)
    assert_adds_up(pool, pairs)
    assert len({pair["row"] for pair in pairs}) == len(pairs)
    if not pool.dropped(Stage.SHARDS):
        images = pool.images(pairs)
        assert len(images) == len(pairs)
    assert_reads_the_same(pool.source, SHARD)


CODECS = [
    parquet_of(
        table_of([[f"text {row}", "more"] for row in range(70)]), row_group_size=10, compression=codec, **options
    )
    for codec in ("none", "zstd", "snappy", "gzip")
    for options in ({}, {"use_dictionary": False, "data_page_version": "2.0"})
]


@pytest.mark.slow
def test_thousands_of_broken_files_are_accounted_for_in_bounded_memory(pool):
    generator = np.random.default_rng(0)
    before = psutil.Process().memory_info().rss
    for number in range(6_000):
        data = bytearray(CODECS[number % len(CODECS)])
        first = len(data) - 2_500 if number % 3 else 0  # the footer breaks in more ways than the pages
        for at in generator.integers(first, len(data), size=generator.choice([1, 1, 2, 4, 16])):
            data[at] = generator.choice([0, 1, 0x7F, 0x80, 0xFF, generator.integers(256)])
        assert_survives(pool, bytes(data))
    assert psutil.Process().memory_info().rss - before < 200 * MIB


cells = st.none() | st.text(max_size=60) | st.text(alphabet=" \t\0\ufffd", max_size=3)
caption_columns = st.one_of(
    st.lists(cells).map(lambda column: pa.array(column, pa.string())),
    st.lists(st.none() | st.lists(cells, max_size=3)).map(lambda column: pa.array(column, pa.list_(pa.string()))),
    st.lists(st.none() | st.lists(st.none() | st.fixed_dictionaries({"kind": cells, "text": cells}), max_size=3)).map(
        lambda column: pa.array(column, pa.list_(KIND))
    ),
    st.lists(st.binary(max_size=20)).map(lambda column: not_utf8(*column)),
)


def usable(kind, text):
    return kind is not None and bool(text and text.strip()) and len(text) <= 50 and "\ufffd" not in kind + text


def expected_texts(cell):
    if cell is None:
        return []
    items = [
        i if isinstance(i, dict) else {"kind": "alt", "text": i} for i in (cell if isinstance(cell, list) else [cell])
    ]
    return [item["text"] for item in items if item["text"] is not None and usable(item["kind"], item["text"])]


@settings(deadline=None, max_examples=150)
@given(caption_columns, st.sampled_from(["none", "zstd", "snappy", "gzip"]), st.integers(1, 5))
def test_captions_of_any_content_give_pairs_or_counted_rows(pool, column, compression, group_rows):
    table = table_of(column)
    pairs = pool.read(table, compression=compression, row_group_size=group_rows)
    assert_adds_up(pool, pairs)
    raw = column.view(pa.binary()).to_pylist() if pa.types.is_string(column.type) else column.to_pylist()
    expected = {
        row: texts
        for row, cell in enumerate(raw)
        if (texts := expected_texts(cell.decode("utf-8", "replace") if isinstance(cell, bytes) else cell))
    }
    assert {pair["row"]: texts_of(pair) for pair in pairs} == expected


def test_caption_of_ten_megabytes_costs_its_pair_alone(pool):
    pairs = pool.read(table_of(["a", "x" * 10_000_000, "b"]))
    assert [pair["row"] for pair in pairs] == [0, 2]
    assert pool.dropped(Stage.CAPTIONS) == {DropReason.CAPTION_OVER_LIMIT: 1}


def test_footer_that_claims_more_rows_than_bytes_is_refused(pool):
    table = pa.table({"url": pa.nulls(1_000_000, pa.string()), "captions": pa.nulls(1_000_000, pa.string())})
    assert pool.read(table.append_column("image", pa.nulls(1_000_000, pa.binary()))) == []
    assert pool.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}
