import re
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaclip_core.hosts import authorities, host_of, spell_address, spell_host


def host(url):
    authority = authorities(pa.array([url], pa.string()))[0].as_py()
    return None if authority is None else host_of(authority)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/a.jpg", "example.org"),
        ("HTTPS://Example.ORG", "example.org"),
        ("http://example.org.:8080/a", "example.org"),
        ("http://example.org:port/a", "example.org"),
        ("http://user:pass@example.org/a", "example.org"),
        ("http://safe.example@example.org/a", "example.org"),
        ("http://example.org?@safe.example", "example.org"),
        ("http://example.org#@safe.example", "example.org"),
        ("http:\\\\example.org\\a", "example.org"),
        ("http:/example.org/a", "example.org"),
        ("http:///example.org/a", "example.org"),
        ("//example.org/a", "example.org"),
        ("example.org/a.jpg", "example.org"),
        ("example.org:8080/a.jpg", "example.org"),
        ("ftp://example.org/a.jpg", "example.org"),
        (" \n\0ht\ntp://exam\tple.org/", "example.org"),
        ("http://ex%61mple.org/", "example.org"),
        ("http://ＥＸＡＭＰＬＥ。org/", "example.org"),
        ("http://bücher.example/", "xn--bcher-kva.example"),
        ("http://B%C3%BCcher.Example/", "xn--bcher-kva.example"),
        ("http://XN--bcher-KVA.example/", "xn--bcher-kva.example"),
        ("http://straße.example/", "xn--strae-oqa.example"),
        ("http://under_score.bücher.example/", "under_score.xn--bcher-kva.example"),
        ("http://i❤.example/", "xn--i-7iq.example"),
        ("http://192.0.2.1:80/", "192.0.2.1"),
        ("http://[2001:DB8::1]:80/", "[2001:db8::1]"),
        ("", None),
        ("http://a b/", None),
        ("http://a..b/", None),
        ("http://℀.example/", None),  # a letter that maps to a/c
        ("http://" + "a." * 200 + "b/", None),
        (None, None),
    ],
)
def test_host_of_a_url_is_the_one_that_a_browser_asks(url, expected):
    assert host(url) == expected


@given(st.text())
@example("\u017f.\u212a")  # letters that some fold to s and k
@example("\ud800")
@example("xn--\u00e4.b")
def test_any_host_is_spelt_in_ascii_once_and_for_all_or_is_none(text):
    spelt = spell_host(text)
    if spelt is not None:
        assert re.fullmatch(r"[a-z0-9_.-]+|\[[0-9a-f:.]+\]", spelt)
        assert spell_host(spelt) == spelt


encodable = st.text(st.characters(exclude_categories=["Cs"]))


@given(encodable | st.from_regex(r"\s{0,2}[a-zſK]{0,5}:?[/\\]{0,3}[\w:@.%\[\]]{0,20}[/?#]?.{0,9}", fullmatch=True))
def test_any_url_has_one_host_whether_it_is_read_alone_or_in_a_column(url):
    address = spell_address(url)
    if address is None:
        assert host(url) is None
    else:
        assert host_of(address.partition("/")[0]) == host(url)


name = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9-]{0,6}(\.[a-zA-Z0-9-]{1,5}){0,3}\.[a-zA-Z]{2,4}", fullmatch=True)


@given(
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["", "user@", "user:pass@"]),
    name,
    st.sampled_from(["", ":80", ":8443"]),
    st.sampled_from(["", "/", "/a@b:1/c.jpg", "?q=a@b", "#a@b"]),
)
def test_host_of_a_plain_url_is_that_of_the_standard_library(scheme, user, named, port, rest):
    url = f"{scheme}://{user}{named}{port}{rest}"
    assert host(url) == urlsplit(url).hostname


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://user@Example.org:443/a/../b%20c?d#e", "example.org/b c?d"),
        ("http://example.org", "example.org/"),
        ("http://example.org:8080", "example.org:8080/"),
        ("http://example.org/%2e%2E/a/./b/..", "example.org/a/"),
        ("http://example.org/..", "example.org/"),
        ("http://example.org\\a\\b?c\\d", "example.org/a/b?c\\d"),
        ("http://example.org/bücher", "example.org/bücher"),
        ("http://example.org/b%C3%BCcher", "example.org/bücher"),
        ("http://example.org/A", "example.org/A"),
        ("http:///", None),
    ],
)
def test_address_is_spelt_as_it_is_compared(url, expected):
    assert spell_address(url) == expected
