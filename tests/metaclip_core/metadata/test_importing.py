import json

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.importing import EntryDrop, read_entry_files, with_numbers
from metaclip_core.metadata.store import ENTRIES

LOCAL = fs.LocalFileSystem()


def imported(folder, **files):
    for name, content in files.items():
        encoded = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("__", ".")).write_bytes(encoded)
    funnel = Funnel()
    return read_entry_files(LOCAL, str(folder), funnel=funnel), funnel


def rows(table):
    return list(zip(table["entry"].to_pylist(), table["source"].to_pylist(), strict=True))


def test_text_lists_become_tables_by_language_in_the_order_of_their_lines(tmp_path):
    tables, _ = imported(tmp_path, en__txt="zebra\nSt. Louis\napple\n", ja__txt="東京\n大阪", other__txt="quẽ\n")
    assert {language: table["entry"].to_pylist() for language, table in tables.items()} == {
        "en": ["zebra", "St. Louis", "apple"],
        "ja": ["東京", "大阪"],
        "other": ["quẽ"],
    }
    assert all(table.schema == ENTRIES for table in tables.values())


def test_json_lists_give_the_same_table_as_text_lists(tmp_path):
    entries = ["zebra", "東京", "a b", "zebra", "", "x" * 257]
    tables, funnel = imported(tmp_path, en__json=json.dumps(entries), de__txt="\n".join(entries))
    assert tables["en"] == tables["de"]
    first, second = funnel.to_records()
    assert {**first, "stage": ""} == {**second, "stage": ""}


def test_lines_with_a_source_keep_it_and_others_are_imports(tmp_path):
    tables, _ = imported(tmp_path, en__txt="car\twordnet\nred\nblue\t\nNew York\t title \n")
    assert rows(tables["en"]) == [("car", "wordnet"), ("red", "import"), ("blue", "import"), ("New York", "title")]


def test_lines_that_are_no_entries_are_left_out_and_counted(tmp_path):
    content = f"car\n\n  \nred\tunigram\ncar\ttitle\nred \n{'x' * 256}\n{'y' * 257}\n\tsource\n"
    tables, funnel = imported(tmp_path, en__txt=content)
    assert rows(tables["en"]) == [("car", "import"), ("red", "unigram"), ("x" * 256, "import")]
    assert funnel.to_records() == [
        {
            "stage": "import en",
            "rows_in": 9,
            "rows_out": 3,
            "dropped": {EntryDrop.BLANK: 3, EntryDrop.DUPLICATE: 2, EntryDrop.OVER_LIMIT: 1},
        }
    ]


@pytest.mark.parametrize(
    "content",
    [
        "car\nred\n",
        "car\nred",
        "car\r\nred\r\n",
        "\ufeffcar\nred\n",
        "\ufeffcar\r\nred",
        "  car \n\u3000red\u00a0\n",
    ],
)
def test_text_lists_of_any_system_give_the_same_entries(tmp_path, content):
    tables, funnel = imported(tmp_path, en__txt=content)
    assert tables["en"]["entry"].to_pylist() == ["car", "red"]
    assert funnel.rows_in["import en"] == 2


def test_characters_that_only_python_takes_for_line_ends_stay_in_the_entry(tmp_path):
    tables, _ = imported(tmp_path, en__txt="a\u2028b\nc\x85d\ne\x0bf\n")
    assert tables["en"]["entry"].to_pylist() == ["a\u2028b", "c\x85d", "e\x0bf"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.text(st.characters(exclude_characters="\t\n\r", exclude_categories=["Cs"]))))
def test_any_entries_come_out_trimmed_unique_and_counted(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("lists")
    tables, funnel = imported(folder, en__txt="".join(f"{line}\n" for line in ["first", *lines]))
    expected = list(dict.fromkeys(line.strip() for line in ["first", *lines] if line.strip()))
    assert tables["en"]["entry"].to_pylist() == [entry for entry in expected if len(entry) <= 256]
    assert funnel.rows_out("import en") == tables["en"].num_rows


def test_an_empty_list_is_a_language_without_entries(tmp_path):
    tables, _ = imported(tmp_path, en__txt="", de__json="[]")
    assert {language: table.num_rows for language, table in tables.items()} == {"en": 0, "de": 0}


@pytest.mark.parametrize(
    "name", ["README.md", "en.csv", "xx.txt", "EN.txt", "manifest.json", ".txt", "en", "en.txt.gz"]
)
def test_a_file_that_is_no_list_of_a_known_language_is_refused_by_name(tmp_path, name):
    (tmp_path / "de.txt").write_text("rot\n")
    (tmp_path / name).write_text("[]")
    with pytest.raises(ValueError, match=r"expected <language>\.txt or <language>\.json") as error:
        read_entry_files(LOCAL, str(tmp_path))
    assert f"/{name}:" in str(error.value)
    assert " ja " in str(error.value)


def test_a_folder_among_the_lists_is_refused_by_name(tmp_path):
    (tmp_path / "en.txt").mkdir()
    with pytest.raises(ValueError, match=r"/en\.txt: expected"):
        read_entry_files(LOCAL, str(tmp_path))


def test_two_lists_of_one_language_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"/en\.txt: en has two lists"):
        imported(tmp_path, en__txt="a", en__json='["b"]')


def test_a_folder_without_lists_is_refused(tmp_path):
    with pytest.raises(ValueError, match="found none"):
        read_entry_files(LOCAL, str(tmp_path))


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_entry_files(LOCAL, f"{tmp_path}/nowhere")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("en.txt", b"car\n\xff\xfe\n", "byte 4 is not"),
        ("en.txt", b"a\tb\n\na\tb\tc\n", "line 3: .*2 tabs"),
        ("en.json", b"", "expected JSON"),
        ("en.json", b"[1", "expected JSON"),
        ("en.json", b'{"car": 1}', "list of strings, got dict"),
        ("en.json", b'"car"', "list of strings, got str"),
        ("en.json", b'["car", 5]', "item 1 is int"),
        ("en.json", b'[["car"]]', "item 0 is list"),
        ("en.json", b"[null]", "item 0 is NoneType"),
        ("en.json", b'["\\ud800"]', "item 0 holds a lone surrogate"),
        ("en.json", b'["\xff"]', "byte 2 is not"),
    ],
)
def test_a_list_of_another_form_is_refused_with_path_and_place(tmp_path, name, content, complaint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"/{name}: .*{complaint}"):
        read_entry_files(LOCAL, str(tmp_path))


def test_with_numbers_puts_them_first_and_drops_the_lists_own(tmp_path):
    tables, _ = imported(tmp_path, en__txt="car\n7\ttitle\n100\n07\nred\n")
    table = with_numbers(tables["en"])
    assert table.schema == ENTRIES
    assert rows(table)[:100] == [(str(number), "number") for number in range(100)]
    assert rows(table)[100:] == [("car", "import"), ("100", "import"), ("07", "import"), ("red", "import")]
    assert with_numbers(table) == table


def test_with_numbers_of_a_language_without_entries_is_the_numbers():
    empty = pa.table([[], [], []], schema=ENTRIES)
    assert with_numbers(empty)["entry"].to_pylist() == [str(number) for number in range(100)]
