import bz2
import gzip
import io
import json

import pytest

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.compressed import STREAMS, Compression, StreamDrop
from metaclip_core.metadata.dumpfiles import find_inputs
from metaclip_core.metadata.dumps import Slice
from metaclip_core.metadata.segmentation import WordDrop
from metaclip_core.metadata.wikipedia import LineDrop, read_phrases
from metaclip_core.metadata.wikitext import WikitextDrop


def read(name, content, language="en", **limits):
    [source] = find_inputs([name], funnel=Funnel())
    funnel = Funnel()
    part = Slice(0, len(content))
    found = read_phrases(io.BytesIO(content), source, part, language=language, funnel=funnel, **limits)
    return [" ".join(phrase) for phrase in found], funnel


def dropped(funnel):
    return {reason: rows for (_, reason), rows in funnel.dropped.items() if rows}


@pytest.mark.parametrize(
    ("wiki", "language", "text", "expected"),
    [
        (
            "en",
            "en",
            "{{x|y}}The [[car|red car]],<ref>no</ref> fast.\n{|\n|no\n|}\nEnd",
            ["The red car", "fast", "End"],
        ),
        ("zh_yue", "zh", "{{x|y}}我們在[[北京|北京大學]]<ref>no</ref>，學習", ["我們 在 北京 大學", "學習"]),
    ],
)
def test_phrases_of_a_dump_are_those_of_its_articles(make_dump, wiki, language, text, expected):
    dump = make_dump([("A", text), ("B", text)])
    found, _ = read(f"{wiki}wiki-20240501-pages-articles.xml.bz2", dump.content, language)
    assert found == expected * 2


def test_what_is_lost_is_counted_all_the_way(make_dump):
    dump = make_dump([("A", "[[" * 50_000), ("B", f"one {'x' * 300} two")], pages_per_stream=1).content
    found, funnel = read("enwiki-20240501-pages-articles.xml.bz2", dump[:-5])
    assert found == ["one", "two"]
    assert dropped(funnel) == {WikitextDrop.UNPARSABLE: 1, WordDrop.OVER_LIMIT: 1, StreamDrop.TRUNCATED: 1}


PACKED = [
    (Compression.NONE, "", bytes),
    (Compression.GZIP, ".gz", gzip.compress),
    (Compression.BZ2, ".bz2", bz2.compress),
]


@pytest.mark.parametrize(("compression", "suffix", "pack"), PACKED)
def test_extracted_text_is_read_by_lines(compression, suffix, pack):
    text = b"one two, three\n\nfour\r\n[[five]] six"
    assert read(f"en.txt{suffix}", pack(text))[0] == ["one two", "three", "four", "five", "six"]
    assert find_inputs([f"en.txt{suffix}"], funnel=Funnel())[0].compression is compression


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_packed_text_may_have_several_streams(pack):
    suffix = {gzip.compress: "gz", bz2.compress: "bz2"}[pack]
    found, funnel = read(f"en.txt.{suffix}", pack(b"one tw") + pack(b"o\nthree\n"))
    assert found == ["one two", "three"]
    assert funnel.rows_in[STREAMS] == 2


def test_lines_of_the_extractor_are_objects_with_a_text():
    lines = [
        json.dumps({"id": "1", "title": "T", "text": "one two\nthree"}),
        "{broken",
        "[1]",
        '{"text": 1}',
        "[" * 100_000,
        "",
        '{"text": "four"}',
    ]
    found, funnel = read("en.jsonl", "\n".join(lines).encode())
    assert found == ["one two", "three", "four"]
    assert dropped(funnel) == {LineDrop.BROKEN_JSON: 4}


def test_bad_lines_are_counted():
    content = b"one\n" + b"x" * 500 + b"\n\xff\xfe\ntwo\n" + b"y" * 500
    found, funnel = read("en.txt", content, max_page_bytes=100)
    assert found == ["one", "two"]
    assert dropped(funnel) == {LineDrop.TOO_LARGE: 2, LineDrop.BROKEN_TEXT: 1}


def test_a_truncated_gzip_gives_what_stands_before_the_cut():
    packed = gzip.compress("\n".join(f"word{i * i}x" for i in range(50_000)).encode())
    found, funnel = read("en.txt.gz", packed[: len(packed) // 2])
    assert 10_000 < len(found) < 50_000
    assert dropped(funnel) == {StreamDrop.TRUNCATED: 1}


def test_a_broken_gzip_is_counted():
    packed = bytearray(gzip.compress("\n".join(f"word{i * i}x" for i in range(50_000)).encode()))
    packed[len(packed) // 2 : len(packed) // 2 + 100] = bytes(100)
    assert dropped(read("en.txt.gz", bytes(packed))[1])[StreamDrop.BROKEN] == 1
