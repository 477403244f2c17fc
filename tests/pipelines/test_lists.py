import logging

import pytest

from pipelines.config import build_config
from pipelines.errors import UserError
from pipelines.lists import list_digests, open_lists, warn_of_broken_lines


@pytest.fixture
def config(tmp_path):
    return build_config({"root": str(tmp_path), "curation": {"block_lists": ["a.txt"], "opt_out_lists": ["b.txt"]}})


def test_lists_are_found_relative_to_the_root_or_anywhere(config, tmp_path):
    (tmp_path / "a.txt").write_text("a.example")
    (tmp_path / "b.txt").write_text("b.example")
    assert open_lists(["a.txt", f"file://{tmp_path}/b.txt"], config).domains == {"a.example", "b.example"}


@pytest.mark.parametrize("content", [None, b"", b"word", b"\xff\xfe", b"\x1f\x8b"])
def test_list_that_is_missing_or_none_is_told_by_name(config, tmp_path, content):
    if content is not None:
        (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(UserError, match=r"^list .*a\.txt "):
        open_lists(["a.txt"], config)


def test_folder_is_no_list(config, tmp_path):
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UserError, match=r"a\.txt"):
        list_digests(["a.txt"], config)
    with pytest.raises(UserError, match=r"a\.txt"):
        open_lists(["a.txt"], config)


def test_digests_say_what_lists_hold_and_not_where_or_in_which_order(config, tmp_path):
    for name, content in {"a.txt": "a.example", "b.txt": "b.example", "c.txt": "a.example"}.items():
        (tmp_path / name).write_text(content)
    digests = list_digests(["a.txt", "b.txt"], config)
    assert list_digests(["b.txt", "c.txt", "a.txt"], config) == digests
    (tmp_path / "b.txt").write_text("c.example.org")
    assert list_digests(["a.txt", "b.txt"], config) != digests


def test_lines_that_name_nothing_are_told_with_their_number_and_the_first(config, tmp_path, caplog):
    (tmp_path / "a.txt").write_text("a.example\nfirst word\nword\n")
    (tmp_path / "b.txt").write_text("b.example")
    with caplog.at_level(logging.WARNING):
        warn_of_broken_lines(config)
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith("list a.txt: lines that name no domain")
    assert told.endswith(": 2, as 'first word'")
