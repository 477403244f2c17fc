import bz2
import io
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.compressed import STREAMS, StreamDrop
from metaclip_core.metadata.dumps import INDEX, PAGES, PageDrop, Slice, plan_slices, read_pages


def read(content, part=None, **limits):
    funnel = Funnel()
    pages = read_pages(io.BytesIO(content), part or Slice(0, len(content)), funnel=funnel, **limits)
    return [(page.title, page.text) for page in pages], funnel


def plan(dump, slice_bytes, index=None):
    funnel = Funnel()
    index = dump.index if index is None else index
    parts = plan_slices(
        io.BytesIO(index),
        index_bytes=len(index),
        dump_bytes=len(dump.content),
        slice_bytes=slice_bytes,
        funnel=funnel,
    )
    return list(parts), funnel


def dropped(funnel):
    return {reason: rows for (_, reason), rows in funnel.dropped.items() if rows}


ARTICLES = [(f"Title {i}", f"Text & <b>{i}</b> ''東京''") for i in range(7)]


def test_articles_are_read_and_other_pages_counted(make_dump, make_page):
    pages = [
        ("A & B", "one <ref>x</ref>"),
        make_page("Template:X", "two", namespace=10),
        make_page("Old", "#REDIRECT [[A]]", redirect="A & B"),
        ("C", ""),
    ]
    found, funnel = read(make_dump(pages).content)
    assert found == [("A & B", "one <ref>x</ref>"), ("C", "")]
    assert funnel.rows_in == {STREAMS: 4, PAGES: 4}
    assert dropped(funnel) == {PageDrop.OTHER_NAMESPACE: 1, PageDrop.REDIRECT: 1}


@pytest.mark.parametrize("pages_per_stream", [1, 3, 100])
def test_a_dump_of_one_stream_gives_what_a_multistream_one_gives(make_dump, pages_per_stream):
    dump = make_dump(ARTICLES, pages_per_stream=pages_per_stream)
    assert read(dump.content)[0] == ARTICLES
    assert read(bz2.compress(bz2.decompress(dump.content)))[0] == ARTICLES


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(slice_bytes=st.integers(1, 3000), pages_per_stream=st.integers(1, 8))
def test_slices_of_any_size_are_the_dump(make_dump, slice_bytes, pages_per_stream):
    dump = make_dump(ARTICLES, pages_per_stream=pages_per_stream)
    parts, _ = plan(dump, slice_bytes)
    assert [parts[0].offset, *(part.end for part in parts)] == [*(part.offset for part in parts), len(dump.content)]
    assert all(part.end - part.offset >= slice_bytes for part in parts[:-1])
    assert [page for part in parts for page in read(dump.content, part)[0]] == ARTICLES


def test_slices_follow_the_index(make_dump):
    dump = make_dump(ARTICLES, pages_per_stream=2)
    parts, funnel = plan(dump, 1)
    assert [part.offset for part in parts] == [0, *dump.offsets]
    assert funnel.rows_in == {INDEX: 7}


@pytest.mark.parametrize(
    ("index", "num_broken"),
    [
        (b"", 0),
        (b"no number:1:A\n\n12\n", 3),
        (b"9" * 5000 + b":1:A\n", 1),
        (b"500:1:A\n400:2:B\n", 1),
        (b"99999999:1:beyond the end\n", 0),
    ],
)
def test_a_damaged_index_loses_no_page(make_dump, index, num_broken):
    dump = make_dump(ARTICLES)
    parts, funnel = plan(dump, 1, index=bz2.compress(index))
    assert dropped(funnel) == ({PageDrop.INDEX_LINE_BROKEN: num_broken} if num_broken else {})
    assert [page for part in parts for page in read(dump.content, part)[0]] == ARTICLES


def test_a_broken_stream_costs_its_own_pages(make_dump):
    dump = make_dump(ARTICLES, pages_per_stream=2)
    content = bytearray(dump.content)
    content[dump.offsets[1] + 60] ^= 0xFF
    found, funnel = read(bytes(content))
    assert found == ARTICLES[:2] + ARTICLES[4:]
    assert dropped(funnel) == {StreamDrop.BROKEN: 1}
    parts, _ = plan(dump, 1)
    assert [page for part in parts for page in read(bytes(content), part)[0]] == found


def test_pages_before_the_break_in_a_stream_are_kept(make_dump):
    long_pages = [(f"T{i}", " ".join(str((i * j) ** 3) for j in range(20_000))) for i in range(20)]
    content = bytearray(make_dump(long_pages, pages_per_stream=100).content)  # several bz2 blocks
    content[len(content) * 3 // 4] ^= 0xFF
    found, funnel = read(bytes(content))
    assert 0 < len(found) < 20
    assert found == long_pages[: len(found)]
    assert dropped(funnel) == {StreamDrop.BROKEN: 1, PageDrop.TRUNCATED: 1}


def test_a_truncated_dump_gives_what_stands_before_the_cut(make_dump):
    dump = make_dump(ARTICLES, pages_per_stream=2)
    found, funnel = read(dump.content[: dump.offsets[2] + 50])
    assert found == ARTICLES[:4]
    assert dropped(funnel) == {StreamDrop.TRUNCATED: 1}


def test_what_is_no_bz2_is_one_broken_stream():
    found, funnel = read(b"<html>404</html>" * 1000)
    assert found == []
    assert dropped(funnel) == {StreamDrop.BROKEN: 1}


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("<page><title>x</title><ns>0</ns><revision><text>a < b</text></revision></page>", PageDrop.BROKEN),
        ("<page><title>x</title><ns>0</ns></page>", PageDrop.BROKEN),
        ("<page><title>x</title><ns>0</ns><revision><text>&unknown;</text></revision></page>", PageDrop.BROKEN),
        ("<page><title>x</title><ns>0</ns><revision><text>cut off\n", PageDrop.TRUNCATED),
        ("cut off</text></revision></page>", PageDrop.TRUNCATED),
    ],
)
def test_a_broken_page_costs_itself(make_dump, broken, reason):
    found, funnel = read(make_dump([*ARTICLES[:3], broken, *ARTICLES[3:]], pages_per_stream=100).content)
    assert found == ARTICLES
    assert dropped(funnel) == {reason: 1}
    assert funnel.rows_out(PAGES) == len(ARTICLES)


def test_control_characters_are_blanks(make_dump):
    assert read(make_dump([("T", "a\x00b\x1bc\td")]).content)[0] == [("T", "a b c\td")]


def test_a_gigantic_page_is_passed_over_without_being_held(make_dump):
    dump = make_dump([ARTICLES[0], ("Big", "x" * 50_000_000), *ARTICLES[1:]], pages_per_stream=100).content
    tracemalloc.start()
    found, funnel = read(dump, max_page_bytes=1_000_000)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == ARTICLES
    assert dropped(funnel) == {PageDrop.TOO_LARGE: 1}
    assert peak_bytes < 15_000_000


def test_entities_are_never_expanded():
    bomb = "".join(f'<!ENTITY l{i + 1} "{f"&l{i};" * 10}">' for i in range(9))
    doctype = f'<!DOCTYPE mediawiki [<!ENTITY l0 "lol">{bomb}<!ENTITY f SYSTEM "file:///etc/passwd">]>'
    pages = "".join(
        f"<page><title>T</title><ns>0</ns><revision><text>{text}</text></revision></page>"
        for text in ("&l9;", "&f;", "fine", f"</text>{doctype}<text>&l9;")
    )
    found, funnel = read(bz2.compress(f"{doctype}<mediawiki>{pages}</mediawiki>".encode()))
    assert found == [("T", "fine")]
    assert dropped(funnel) == {PageDrop.BROKEN: 3}


def test_an_error_of_the_store_is_raised(make_dump):
    class Failing(io.BytesIO):
        def read(self, _size=-1):
            raise OSError("connection reset")

    content = make_dump(ARTICLES).content
    with pytest.raises(OSError, match="connection reset"):
        list(read_pages(Failing(content), Slice(0, len(content)), funnel=Funnel()))
