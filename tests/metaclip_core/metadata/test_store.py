import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.metadata.store import ENTRIES, read_entries, read_manifest, write_metadata
from metaclip_core.records import SchemaError

LOCAL = fs.LocalFileSystem()


def table_of(*rows):
    columns = list(zip(*rows, strict=True)) or [[], [], []]
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, ENTRIES, strict=True)], schema=ENTRIES
    )


TABLES = {
    "ja": table_of(("東京", "title", 5.0)),
    "en": table_of(("0", "number", 0.0), ("car", "wordnet", 0.0), ("0", "number", 0.0)),
    "cbk_zam": table_of(),
}


@pytest.fixture
def path(tmp_path):
    return f"{tmp_path}/deep/metadata"


def test_metadata_written_and_read_again_are_the_same(path):
    write_metadata(LOCAL, path, TABLES, provenance={"licence": "CC0", "sources": ["é"]})
    assert {language: read_entries(LOCAL, path, language).to_pylist() for language in TABLES} == {
        "ja": ["東京"],
        "en": ["0", "car", "0"],
        "cbk_zam": [],
    }
    manifest = read_manifest(LOCAL, path)
    assert manifest.num_entries == {"cbk_zam": 0, "en": 3, "ja": 1}
    assert manifest.sources == {"cbk_zam": {}, "en": {"number": 2, "wordnet": 1}, "ja": {"title": 1}}
    assert manifest.provenance == {"licence": "CC0", "sources": ["é"]}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.lists(st.text()))
def test_entries_of_any_text_keep_text_and_order(tmp_path_factory, entries):
    path = str(tmp_path_factory.mktemp("metadata"))
    write_metadata(LOCAL, path, {"en": table_of(*((entry, "x", 0.0) for entry in entries))}, provenance={})
    got = read_entries(LOCAL, path, "en")
    assert isinstance(got, pa.StringArray)
    assert got.to_pylist() == entries


def test_metadata_on_a_filesystem_that_is_not_local_are_the_same(path):
    memory = fs.SubTreeFileSystem(path, LOCAL)
    LOCAL.create_dir(path)
    write_metadata(memory, "m", TABLES, provenance={})
    assert read_entries(memory, "m", "en").to_pylist() == read_entries(LOCAL, f"{path}/m", "en").to_pylist()


def test_metadata_written_twice_are_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        write_metadata(LOCAL, f"{tmp_path}/{name}", TABLES, provenance={"a": 1})
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_metadata_without_a_manifest_are_not_there_and_may_be_written_again(path, tmp_path):
    write_metadata(LOCAL, path, TABLES, provenance={})
    (tmp_path / "deep" / "metadata" / "manifest.json").unlink()
    with pytest.raises(FileNotFoundError):
        read_manifest(LOCAL, path)
    write_metadata(LOCAL, path, {"en": table_of(("new", "x", 1.0))}, provenance={})
    assert read_entries(LOCAL, path, "en").to_pylist() == ["new"]
    assert read_manifest(LOCAL, path).num_entries == {"en": 1}


def test_metadata_that_are_complete_are_never_overwritten(path):
    write_metadata(LOCAL, path, TABLES, provenance={})
    with pytest.raises(FileExistsError, match="complete"):
        write_metadata(LOCAL, path, {"en": table_of(("new", "x", 1.0))}, provenance={})
    assert read_entries(LOCAL, path, "en").to_pylist() == ["0", "car", "0"]


def test_metadata_that_fail_while_being_written_have_no_manifest(path):
    LOCAL.create_dir(f"{path}/ja.parquet")  # no file can be written there
    with pytest.raises(OSError, match=r"ja\.parquet"):
        write_metadata(LOCAL, path, TABLES, provenance={})
    assert LOCAL.get_file_info(f"{path}/en.parquet").type == fs.FileType.File
    assert LOCAL.get_file_info(f"{path}/manifest.json").type == fs.FileType.NotFound


@pytest.mark.parametrize("language", ["../en", "en/x", "", "EN", "e n", "en.parquet"])
def test_a_language_that_would_name_another_file_is_refused(path, language):
    with pytest.raises(ValueError, match="no code"):
        write_metadata(LOCAL, path, {language: table_of()}, provenance={})
    with pytest.raises(ValueError, match="no code"):
        read_entries(LOCAL, path, language)


def test_a_table_of_another_schema_is_refused_with_its_language(path):
    with pytest.raises(SchemaError, match=r"metadata of de.*score"):
        write_metadata(LOCAL, path, {"de": table_of().drop_columns(["score"])}, provenance={})


@pytest.mark.parametrize("row", [(None, "x", 0.0), ("car", None, 0.0)])
def test_a_null_entry_or_source_is_refused(path, row):
    with pytest.raises(ValueError, match="metadata of en"):
        write_metadata(LOCAL, path, {"en": table_of(("a", "x", 0.0), row)}, provenance={})


def test_provenance_that_is_no_json_is_refused_before_anything_is_written(path):
    with pytest.raises(TypeError):
        write_metadata(LOCAL, path, TABLES, provenance={"when": object()})
    assert LOCAL.get_file_info(path).type == fs.FileType.NotFound


def test_a_language_that_the_folder_does_not_have_is_not_found(path):
    write_metadata(LOCAL, path, TABLES, provenance={})
    with pytest.raises(FileNotFoundError):
        read_entries(LOCAL, path, "de")


def test_a_manifest_of_another_format_is_refused_with_its_path(path, tmp_path):
    write_metadata(LOCAL, path, TABLES, provenance={})
    file = tmp_path / "deep" / "metadata" / "manifest.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "format_revision": 99}))
    with pytest.raises(ValueError, match=r"manifest\.json is of format 99"):
        read_manifest(LOCAL, path)
