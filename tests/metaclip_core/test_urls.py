from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metaclip_core.pairs import pair_id
from metaclip_core.records import DropReason
from metaclip_core.urls import _join_plain, _spell, resolve_url

BASE = "https://site.example/folder/page.html?q=1"


def resolved(link, base=BASE):
    return resolve_url(link, base, max_chars=200)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("a.jpg", "https://site.example/folder/a.jpg"),
        ("/a.jpg", "https://site.example/a.jpg"),
        ("../up/a.jpg", "https://site.example/up/a.jpg"),
        ("../../../a.jpg", "https://site.example/a.jpg"),
        ("//cdn.example/a.jpg", "https://cdn.example/a.jpg"),
        ("?size=2", "https://site.example/folder/page.html?size=2"),
        ("http://other.example", "http://other.example/"),
        ("HTTP://Other.Example:80/A.jpg", "http://other.example/A.jpg"),
        ("https://other.example:443/a", "https://other.example/a"),
        ("http://other.example:8080/a", "http://other.example:8080/a"),
        ("http://[2001:DB8::1]:81/a", "http://[2001:db8::1]:81/a"),
        ("http://name:word@other.example/a", "http://other.example/a"),
        ("a.jpg#top", "https://site.example/folder/a.jpg"),
        (" \n a b\t.jpg \0", "https://site.example/folder/a%20b.jpg"),
        ("a%20b.jpg", "https://site.example/folder/a%20b.jpg"),
        ("100%.jpg", "https://site.example/folder/100%.jpg"),
        ("img\\a.jpg?x=\\", "https://site.example/folder/img/a.jpg?x=%5C"),
        ("犬.jpg?q=ü", "https://site.example/folder/%E7%8A%AC.jpg?q=%C3%BC"),
        ("http://bücher.example/a", "http://xn--bcher-kva.example/a"),
        ("http://under_score.example/a", "http://under_score.example/a"),
        ('a"<b>.jpg', "https://site.example/folder/a%22%3Cb%3E.jpg"),
        ("a.jpg?w=1&h=2;x=(3)", "https://site.example/folder/a.jpg?w=1&h=2;x=(3)"),
    ],
)
def test_link_of_a_page_is_resolved_as_a_browser_does(link, url):
    assert resolved(link) == url


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("", DropReason.URL_EMPTY),
        (" \t\n\0", DropReason.URL_EMPTY),
        ("data:image/gif;base64,R0lGOD" + "A" * 10_000, DropReason.URL_NOT_HTTP),
        ("DATA:,", DropReason.URL_NOT_HTTP),
        (" javascript:void(0)", DropReason.URL_NOT_HTTP),
        ("java\nscript:void(0)", DropReason.URL_NOT_HTTP),
        ("blob:https://site.example/1", DropReason.URL_NOT_HTTP),
        ("file:///C:/a.jpg", DropReason.URL_NOT_HTTP),
        ("C:\\a.jpg", DropReason.URL_NOT_HTTP),
        ("http://", DropReason.URL_BROKEN),
        ("http:///a.jpg", DropReason.URL_BROKEN),
        ("http://[::1/a", DropReason.URL_BROKEN),
        ("http://a:port/", DropReason.URL_BROKEN),
        ("http://a:99999/", DropReason.URL_BROKEN),
        ("http://a b/", DropReason.URL_BROKEN),
        ("http://a..ü/", DropReason.URL_BROKEN),
        ("a\0b.jpg", DropReason.URL_BROKEN),
        ("a\x7f.jpg", DropReason.URL_BROKEN),
        ("surrogate\ud800.jpg", DropReason.URL_BROKEN),
        ("a\ufffd.jpg", DropReason.URL_BROKEN),
        ("a" * 201, DropReason.URL_OVER_LIMIT),
        ("ü" * 40, DropReason.URL_OVER_LIMIT),  # 240 characters when encoded
    ],
)
def test_link_that_is_no_address_is_dropped_for_its_reason(link, reason):
    assert resolved(link) is reason


def test_relative_link_on_a_page_without_address_is_broken():
    assert resolved("a.jpg", "") is DropReason.URL_BROKEN
    assert resolved("//cdn.example/a.jpg", "") is DropReason.URL_BROKEN
    assert resolved("http://cdn.example/a.jpg", "") == "http://cdn.example/a.jpg"


@given(
    st.text() | st.from_regex(r"(https?:)?//[a-z\[\]:@.%]{0,20}/?.{0,20}", fullmatch=True), st.just(BASE) | st.text()
)
@example("//[", BASE)
@example("http://\u2100.example/", BASE)  # a letter that NFKC turns into a/c
def test_any_link_gives_an_address_in_ascii_or_a_reason(link, base):
    url = resolved(link, base)
    if isinstance(url, DropReason):
        return
    assert url.isascii()
    assert url.isprintable()
    assert " " not in url
    parts = urlsplit(url)
    assert parts.scheme in {"http", "https"}
    assert parts.hostname
    assert urljoin("http://x/", url) == url
    assert resolve_url(url, "", max_chars=200) == url
    assert pair_id(url, "") == pair_id(f" {url}\t", "")


piece = st.sampled_from(
    [
        "a",
        "B",
        ".",
        "..",
        "/",
        "//",
        ":",
        ";",
        "?",
        "&",
        "=",
        "%20",
        "@",
        "x.jpg",
        "http:",
        "https://",
        "host.example",
        "-",
    ]
)


@settings(max_examples=1_000)
@given(st.lists(piece, min_size=1, max_size=8).map("".join), st.lists(piece, max_size=6).map("".join))
@example("a.jpg", "site.example/folder/")
@example("a.jpg", "site.example//folder/page")
@example("/a.jpg", "site.example//folder/page?q=/x")
@example("../a.jpg", "site.example/folder/page")
@example("a/./b.jpg", "site.example/folder/page")
def test_plain_link_is_resolved_as_any_other(link, base):
    base = f"http://{base}"
    plain = _join_plain(link, base)
    assert plain is None or plain == _spell(link, base)


@pytest.mark.parametrize("link", ["a.jpg", "/img/a.jpg?w=100", "http://cdn.example/img/a.jpg?x=1&y=2", "img/a%20b.jpg"])
def test_links_of_the_common_forms_are_plain(link):
    assert _join_plain(link, BASE) == _spell(link, BASE)
