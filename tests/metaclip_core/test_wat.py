import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import DropReason, Stage
from metaclip_core.wat import LinkLimits, read_links
from tests.pipelines.sources.wat_files import PAGE, image, page

LIMITS = LinkLimits(max_url_chars=100, max_caption_chars=50)


class Reading:
    """What a record gives, and its funnel."""

    def __init__(self, content):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.funnel = Funnel()
        self.rows = read_links(data, limits=LIMITS, funnel=self.funnel)

    def dropped(self, stage):
        return {reason: n for (at, reason), n in self.funnel.dropped.items() if at == stage}

    def assert_adds_up(self):
        assert self.funnel.rows_in[Stage.RECORDS] == 1
        assert self.funnel.rows_out(Stage.LINKS) == len(self.rows)
        assert self.funnel.rows_out(Stage.CAPTIONS) >= len(self.rows)
        assert all(row["captions"] for row in self.rows)


def test_image_of_a_page_is_a_row_with_its_captions_by_kind():
    found = Reading(page(image("a.jpg", data_image_title="c", title="b", alt="a", width="3")))
    assert found.rows == [
        {
            "pair_id": pair_id("http://site.example/folder/a.jpg", ""),
            "url": "http://site.example/folder/a.jpg",
            "page": PAGE,
            "captions": [
                {"kind": "alt", "text": "a"},
                {"kind": "title", "text": "b"},
                {"kind": "data-image-title", "text": "c"},
            ],
        }
    ]
    found.assert_adds_up()


def test_links_that_are_no_images_are_not_looked_at():
    found = Reading(page({"path": "IMG@/longdesc", "url": "x", "alt": "a"}, {"path": "A@/href"}, {}))
    assert found.rows == []
    assert found.dropped(Stage.RECORDS) == {DropReason.NO_IMAGE: 1}


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("http://cdn.example/img/", "http://cdn.example/img/a.jpg"),
        ("/img/", "http://site.example/img/a.jpg"),
        ("//cdn.example", "http://cdn.example/a.jpg"),
        ("", "http://site.example/folder/a.jpg"),
        ("javascript:x", "http://site.example/folder/a.jpg"),
        (["x"], "http://site.example/folder/a.jpg"),
        (None, "http://site.example/folder/a.jpg"),
    ],
)
def test_base_of_the_page_is_respected_where_it_is_an_address(base, url):
    [row] = Reading(page(image("a.jpg", alt="a"), base=base)).rows
    assert (row["url"], row["page"]) == (url, PAGE)


@pytest.mark.parametrize("url", [None, 3, "", "dns:site.example", ["x"]])
def test_page_without_an_address_keeps_absolute_links(url):
    found = Reading(page(image("a.jpg", alt="a"), image("http://x.example/b.jpg", alt="b"), url=url))
    assert [(row["url"], row["page"]) for row in found.rows] == [("http://x.example/b.jpg", "")]
    assert found.dropped(Stage.LINKS) == {DropReason.URL_BROKEN: 1}


def test_text_in_two_attributes_is_one_caption():
    [row] = Reading(page(image("a.jpg", title="same", alt="same"))).rows
    assert row["captions"] == [{"kind": "alt", "text": "same"}]


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        (image("", alt="a"), DropReason.URL_EMPTY),
        ({"path": "IMG@/src", "alt": "a"}, DropReason.URL_EMPTY),
        (image("data:image/gif;base64," + "A" * 100_000, alt="a"), DropReason.URL_NOT_HTTP),
        (image("javascript:void(0)", alt="a"), DropReason.URL_NOT_HTTP),
        (image("http://[", alt="a"), DropReason.URL_BROKEN),
        (image("x" * 101, alt="a"), DropReason.URL_OVER_LIMIT),
        (image(["a.jpg"], alt="a"), DropReason.LINK_BAD_SHAPE),
        (image(None, alt="a"), DropReason.LINK_BAD_SHAPE),
        ("a.jpg", DropReason.LINK_BAD_SHAPE),
        ([[]], DropReason.LINK_BAD_SHAPE),
        (image("a.jpg"), DropReason.NO_CAPTION),
        (image("a.jpg", alt=" "), DropReason.NO_CAPTION),
    ],
)
def test_link_that_is_of_no_use_is_dropped_for_its_reason_and_leaves_the_others(link, reason):
    found = Reading(page(image("first.jpg", alt="1"), link, image("last.jpg", alt="2")))
    assert [row["captions"][0]["text"] for row in found.rows] == ["1", "2"]
    assert found.dropped(Stage.LINKS) == {reason: 1}
    found.assert_adds_up()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", DropReason.CAPTION_EMPTY),
        ("x" * 10_000_000, DropReason.CAPTION_OVER_LIMIT),
        ("\ud800", DropReason.CAPTION_BROKEN_TEXT),
        (3, DropReason.CAPTION_BAD_SHAPE),
        ({"text": "x"}, DropReason.CAPTION_BAD_SHAPE),
        (None, DropReason.CAPTION_BAD_SHAPE),
    ],
)
def test_caption_that_is_of_no_use_costs_itself_alone(text, reason):
    found = Reading(page(image("a.jpg", alt=text, title="t")))
    assert [row["captions"] for row in found.rows] == [[{"kind": "title", "text": "t"}]]
    assert found.dropped(Stage.CAPTIONS) == {reason: 1}


def test_broken_utf8_costs_the_caption_it_stands_in():
    data = json.dumps(page(image("a.jpg", alt="caf?", title="café")), ensure_ascii=False).encode("latin-1")
    assert Reading(data).dropped(Stage.CAPTIONS) == {DropReason.CAPTION_BROKEN_TEXT: 1}
    [row] = Reading(data.replace(b"caf\xe9", "café".encode())).rows
    assert [caption["text"] for caption in row["captions"]] == ["caf?", "café"]


def test_nul_in_a_caption_is_a_character_like_any_other():
    [row] = Reading(page(image("a.jpg", alt="nul\0"))).rows
    assert row["captions"] == [{"kind": "alt", "text": "nul\0"}]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"\0" * 100,
        b"[" * 100_000,
        b'{"Envelope": ' * 50_000,
        b'{"n": ' + b"9" * 10_000 + b"}",
        b"[]",
        b'"text"',
        b'{"Envelope": []}',
        b'{"Envelope": {"Payload-Metadata": "x"}}',
        json.dumps(page()).replace('"Links": [', '"Links": {"0": [').replace("}]}}", "}]}}}").encode(),
    ],
)
def test_record_of_another_shape_is_counted_as_bad_metadata(content):
    found = Reading(content)
    assert (found.rows, found.dropped(Stage.RECORDS)) == ([], {DropReason.BAD_METADATA: 1})


@pytest.mark.parametrize("content", [b"{}", b"null", b'{"Envelope": {}}', b'{"Envelope": null}'])
def test_record_without_a_page_has_no_image(content):
    assert Reading(content).dropped(Stage.RECORDS) == {DropReason.NO_IMAGE: 1}


KEYS = [
    "Envelope",
    "Payload-Metadata",
    "HTTP-Response-Metadata",
    "HTML-Metadata",
    "Links",
    "Head",
    "Base",
    "path",
    "url",
]
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("IMG@/src"),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=8,
)
near_links = st.lists(
    st.fixed_dictionaries(
        {"path": st.just("IMG@/src") | any_json},
        optional={"url": st.text() | any_json, "alt": st.text() | any_json, "title": st.text() | any_json},
    )
    | any_json,
    max_size=4,
)


def grafted(content, where, what):
    """`content` with `what` in place of the value at depth `where` on the way to the links."""
    place = content
    for key in ("Envelope", "Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata", "Links")[: where + 1]:
        parent, last, place = place, key, place[key]
    parent[last] = what
    return content


@given(
    any_json
    | st.builds(grafted, st.builds(page), st.integers(0, 4), any_json)
    | near_links.map(lambda links: page(*links))
)
def test_json_of_any_shape_gives_rows_or_counted_drops(content):
    Reading(content).assert_adds_up()


@given(st.binary(max_size=200))
def test_any_bytes_give_rows_or_counted_drops(data):
    Reading(data).assert_adds_up()
