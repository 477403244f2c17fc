import json
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import storage
from pipelines.errors import UserError


class BreakdownError(Exception):
    """What interrupts a writer."""


@pytest.mark.parametrize(
    ("uri", "base", "expected"),
    [
        ("/data/pool", "", "/data/pool"),
        ("/data/pool/", "", "/data/pool"),
        ("/data/../pool", "", "/pool"),
        ("s3://bucket/pool/", "", "s3://bucket/pool"),
        ("s3://bucket/pool", "/root", "s3://bucket/pool"),
        ("file:///data/pool/", "s3://bucket", "file:///data/pool"),
        ("pool", "/root", "/root/pool"),
        ("pool", "/root/", "/root/pool"),
        ("pool/deep", "s3://bucket/x", "s3://bucket/x/pool/deep"),
        ("/data/pool", "s3://bucket/x", "/data/pool"),
    ],
)
def test_absolute_of_any_form_is_the_place_it_means(uri, base, expected):
    assert storage.absolute(uri, base=base) == expected


def test_absolute_of_a_relative_path_is_taken_from_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("pool") == str(tmp_path / "pool")


def test_absolute_of_a_relative_path_and_base_does_not_move_with_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("pool", base="state") == str(tmp_path / "state" / "pool")


def test_absolute_expands_the_home_folder_in_uri_and_base(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.absolute("~/pool", base="/root") == str(tmp_path / "pool")
    assert storage.absolute("pool", base="~/state") == str(tmp_path / "state" / "pool")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("s3://b", "x"), "s3://b/x"),
        (("s3://b/", "/x/", "y/"), "s3://b/x/y"),
        (("/", "x"), "/x"),
        (("/a",), "/a"),
    ],
)
def test_join_of_any_slashes_puts_one_between_the_parts(parts, expected):
    assert storage.join(*parts) == expected


def test_resolve_of_a_scheme_that_nobody_knows_is_an_error_for_the_user():
    with pytest.raises(UserError, match="cannot open nosuch://pool"):
        storage.resolve("nosuch://pool")


@pytest.mark.parametrize("name", ["plain", "with blank", "ünïcødé 日本", "per%20cent", "ha#sh", "quest?ion", "plus+"])
def test_a_file_of_any_name_is_written_and_read_back(tmp_path, name):
    uri = storage.join(str(tmp_path), name, "file.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"content")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"content"
    assert storage.list_names(storage.join(str(tmp_path), name)) == {"file.bin"}
    assert (tmp_path / name / "file.bin").read_bytes() == b"content"


def test_list_names_of_no_folder_is_empty_and_of_a_folder_holds_files_only(tmp_path):
    assert storage.list_names(str(tmp_path / "none")) == set()
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_bytes(b"")
    assert storage.list_names(str(tmp_path)) == {"a"}


def break_down_in(publishing, stores=None):
    """Fail in the middle of a table: on its way out the writer writes a footer and closes the file."""
    table = pa.table({"x": [1, 2, 3]})
    with publishing as (filesystem, path), pq.ParquetWriter(path, table.schema, filesystem=filesystem) as writer:
        if stores is not None:
            stores.append(filesystem)
        writer.write_table(table)
        raise BreakdownError


def everything_below(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("before", [None, b"old"])
def test_publishing_that_is_interrupted_leaves_what_was_there_and_nothing_else(tmp_path, before):
    if before is not None:
        (tmp_path / "file").write_bytes(before)
    expected = everything_below(tmp_path)
    with pytest.raises(BreakdownError):
        break_down_in(storage.publishing(str(tmp_path / "file")))
    assert everything_below(tmp_path) == expected


def test_publishing_that_is_interrupted_before_the_first_byte_leaves_nothing(tmp_path):
    with pytest.raises(BreakdownError), storage.publishing(str(tmp_path / "file")):
        raise BreakdownError
    assert everything_below(tmp_path) == {}


def test_publishing_shows_nothing_under_its_name_before_the_end(tmp_path):
    with storage.publishing(str(tmp_path / "deep" / "file")) as (filesystem, path):
        with filesystem.open_output_stream(path) as stream:
            stream.write(b"all")
        assert not storage.exists(str(tmp_path / "deep" / "file"))
    assert everything_below(tmp_path) == {"deep/file": b"all"}


def test_publishing_to_a_store_without_local_files_shows_nothing_of_an_interrupted_table():
    stores = []
    with pytest.raises(BreakdownError):
        break_down_in(storage.publishing("mock:///file.parquet"), stores)
    (filesystem,) = stores
    assert filesystem.get_file_info(pafs.FileSelector("", recursive=True)) == []


def test_publishing_to_a_store_without_local_files_shows_the_whole_file_at_the_end():
    with storage.publishing("mock:///file.bin") as (filesystem, path), filesystem.open_output_stream(path) as stream:
        stream.write(b"all")
    infos = filesystem.get_file_info(pafs.FileSelector("", recursive=True))
    assert [(info.path, info.size) for info in infos] == [("file.bin", 3)]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
    max_leaves=6,
)


@settings(deadline=None)
@given(json_values)
def test_json_of_any_content_is_read_back_as_it_was(tmp_path_factory, content):
    uri = str(tmp_path_factory.getbasetemp() / "content.json")
    storage.write_json(uri, content)
    assert storage.read_json(uri) == json.loads(Path(uri).read_text(encoding="utf-8")) == content


def test_table_is_read_back_whole_or_by_columns(tmp_path):
    table = pa.table({"x": [1, 2], "y": ["a", "b"]})
    uri = str(tmp_path / "table.parquet")
    storage.write_table(uri, table)
    assert storage.read_table(uri).equals(table)
    assert storage.read_table(uri, columns=["y"]).equals(table.select(["y"]))


@pytest.mark.parametrize("read", [storage.read_bytes, storage.read_json, storage.read_table])
def test_reading_a_file_that_is_not_there_says_so(tmp_path, read):
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none"))


def test_folder_that_was_uploaded_is_the_same_in_a_local_copy(tmp_path):
    source = tmp_path / "source"
    (source / "deep" / "deeper").mkdir(parents=True)
    (source / "a.txt").write_bytes(b"a")
    (source / "empty").write_bytes(b"")
    (source / "deep" / "deeper" / "b 日.bin").write_bytes(bytes(range(256)))
    uri = str(tmp_path / "stored")
    storage.upload_folder(source, uri)
    with storage.local_copy(uri) as folder:
        assert everything_below(folder) == everything_below(source)
        (folder / "a.txt").write_bytes(b"changed")
    assert not folder.exists()
    assert everything_below(tmp_path / "stored") == everything_below(source)


def test_local_copy_of_nothing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), storage.local_copy(str(tmp_path / "none")):
        pass


def test_version_is_the_same_whatever_the_order_of_the_keys():
    one = storage.version_of("count", 1, pool="a", options={"x": 1, "y": [2, 3]})
    other = storage.version_of("count", 1, options={"y": [2, 3], "x": 1}, pool="a")
    assert one == other


def test_version_of_known_content_never_changes():
    assert storage.version_of("count", 1, pool="a") == "c3f8450ea4422f11"


def test_version_of_every_small_difference_differs():
    versions = [
        storage.version_of("count", 1, pool="a", p=0.06),
        storage.version_of("annotate", 1, pool="a", p=0.06),
        storage.version_of("count", 2, pool="a", p=0.06),
        storage.version_of("count", 1, pool="b", p=0.06),
        storage.version_of("count", 1, pool="a", p=0.07),
        storage.version_of("count", 1, pool="a", p="0.06"),
        storage.version_of("count", 1, pool="a", p=None),
        storage.version_of("count", 1, pool="a"),
        storage.version_of("count", 1, poola=0.06),
        storage.version_of("count", 1, pool={"a": 0.06}),
        storage.version_of("count", 1, pool=["a", 0.06]),
        storage.version_of("count1", 1, pool="a", p=0.06),
    ]
    assert len(set(versions)) == len(versions)


def test_places_of_a_layout_are_all_different_and_below_the_root():
    layout = storage.Layout("s3://bucket/root/")
    places = [
        layout.manifest("x"),
        layout.metadata("x"),
        layout.metadata_name("x"),
        layout.annotations("x"),
        layout.duplicates("x"),
        layout.counts("x"),
        layout.thresholds("x"),
        layout.runs(),
        layout.run("x"),
        layout.model("x"),
        layout.report("x"),
    ]
    assert len(set(places)) == len(places)
    assert all(place.startswith("s3://bucket/root/") for place in places)


def test_files_of_shards_sort_as_their_numbers_do():
    numbers = [0, 9, 10, 123_456, 99_999_999]
    files = [storage.shard_file("folder", number) for number in numbers]
    assert files == sorted(files)
    assert len(set(files)) == len(numbers)
