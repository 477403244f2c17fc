import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.pairs import MAX_URL_CHARS, pair_id, shown_url, stated_id


def test_pair_id_of_a_url_is_the_start_of_its_sha224():
    url = "https://example.org/a.jpg"
    assert pair_id(url, "shard.tar/000") == hashlib.sha224(url.encode()).hexdigest()[:24]


def test_pair_id_of_known_names_never_changes():
    assert pair_id("https://example.org/a.jpg", "") == "1d63379d7e8c160931a17eb0"
    assert pair_id(None, "00000.tar/000000001") == "c1530865181d527951b8fd76"


def test_pair_id_of_a_url_with_tabs_and_blanks_equals_that_without():
    plain = pair_id("https://example.org/ab.jpg", "x")
    assert pair_id(" https://example.org/a\tb.jpg \t", "y") == plain


def test_pair_id_of_a_url_with_other_white_space_is_another():
    assert pair_id("a\nb", "x") != pair_id("ab", "x")
    assert pair_id("a\u00a0b", "x") != pair_id("ab", "x")


@pytest.mark.parametrize("url", [None, "", " \t "])
def test_pair_id_without_a_url_is_that_of_the_fallback(url):
    assert pair_id(url, "a shard.tar/key") == hashlib.sha224(b"a shard.tar/key").hexdigest()[:24]


@given(st.none() | st.text(st.characters()), st.text(st.characters()))
def test_pair_id_of_any_text_is_24_hex_digits_and_always_the_same(url, fallback):
    identity = pair_id(url, fallback)
    assert re.fullmatch("[0-9a-f]{24}", identity)
    assert pair_id(url, fallback) == identity


def test_pair_id_of_lone_surrogates_tells_them_apart():
    assert pair_id("\ud800", "x") != pair_id("\ud801", "x")


@given(st.none() | st.text(st.characters()))
def test_shown_url_of_any_text_can_be_stored(url):
    shown = shown_url(url)
    assert shown is None or shown.encode()
    if url and url.strip(" \t") and url.isascii():
        assert shown == url


def test_shown_url_of_a_long_address_is_its_start():
    url = "https://example.org/" + "a" * MAX_URL_CHARS
    assert shown_url(url) == url[:MAX_URL_CHARS]


@pytest.mark.parametrize("url", [None, "", " \t "])
def test_shown_url_of_a_blank_one_is_null(url):
    assert shown_url(url) is None


@given(st.none() | st.text(st.characters()), st.text(st.characters()))
def test_stated_id_of_any_pair_id_is_that_id(url, fallback):
    assert stated_id(pair_id(url, fallback)) == pair_id(url, fallback)


@pytest.mark.parametrize(
    "value", [None, 7, "", "f" * 23, "f" * 25, "F" * 24, "g" * 24, "f" * 24 + "\n", "٣" * 24, b"f" * 24, ["f" * 24]]
)
def test_stated_id_of_what_is_not_spelt_as_one_is_none(value):
    assert stated_id(value) is None
