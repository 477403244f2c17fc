import pytest

from metaclip_core.metadata.compressed import Compression
from metaclip_core.metadata.dumpfiles import InputKind, find_inputs


def found(*names):
    return [(file.name, file.wiki) for file in find_inputs(names)]


@pytest.mark.parametrize(
    ("name", "wiki"),
    [
        ("enwiki-20240501-pages-articles.xml.bz2", "en"),
        ("enwiki-latest-pages-articles1.xml-p1p41242.bz2", "en"),
        ("simplewiki-20240501-pages-articles-multistream.xml.bz2", "simple"),
        ("zh_yuewiki-20240501-pages-articles-multistream1.xml-p1p41242.bz2", "zh_yue"),
        ("be_x_oldwiki-20240501-pages-articles.xml.bz2", "be_x_old"),
        ("roa_tarawiki-20240501-pages-articles.xml.bz2", "roa_tara"),
    ],
)
def test_a_dump_of_a_wikipedia_is_known_by_its_name(name, wiki):
    assert found(name) == [(name, wiki)]


@pytest.mark.parametrize(
    "name",
    [
        "commonswiki-20240501-pages-articles.xml.bz2",
        "specieswiki-20240501-pages-articles.xml.bz2",
        "enwiktionary-20240501-pages-articles.xml.bz2",
        "enwikibooks-20240501-pages-articles.xml.bz2",
        "wikidatawiki-20240501-pages-articles.xml.bz2",
        "enwiki-20240501-pages-meta-history1.xml-p1p857.bz2",
        "enwiki-20240501-pages-articles-multistream-index.txt.bz2",
        "enwiki-20240501-pages-articles-multistream-index1.txt-p1p41242.bz2",
        "enwiki-20240501-md5sums.pdf",
        "README.txt",
        "enwiki-20240501-pages-articles.xml",
    ],
)
def test_what_is_no_dump_of_a_wikipedia_is_left_out(name):
    assert found(name) == []


def test_of_the_editions_of_a_dump_the_whole_multistream_is_read_with_its_index():
    whole = "enwiki-20240501-pages-articles-multistream.xml.bz2"
    index = "enwiki-20240501-pages-articles-multistream-index.txt.bz2"
    names = [
        "enwiki-20240501-pages-articles.xml.bz2",
        "enwiki-20240501-pages-articles1.xml-p1p41242.bz2",
        "enwiki-20240501-pages-articles-multistream1.xml-p1p41242.bz2",
        whole,
        index,
    ]
    [file] = find_inputs(names)
    assert (file.name, file.index, file.kind, file.compression) == (whole, index, InputKind.DUMP, Compression.BZ2)


def test_parts_are_all_read_each_with_its_own_index():
    names = [f"dewiki-20240501-pages-articles-multistream{part}.bz2" for part in ("1.xml-p1p9", "2.xml-p10p99")]
    indexes = [f"dewiki-20240501-pages-articles-multistream-index{part}.bz2" for part in ("1.txt-p1p9", "2.txt-p10p99")]
    assert [(file.name, file.index) for file in find_inputs([*names, *indexes])] == [*zip(names, indexes, strict=True)]


def test_text_is_known_by_its_suffixes():
    kinds = [
        (file.wiki, file.kind, file.compression) for file in find_inputs(["de.txt", "en.txt.gz", "jawiki-1.jsonl.bz2"])
    ]
    assert kinds == [
        ("de", InputKind.TEXT, Compression.NONE),
        ("en", InputKind.TEXT, Compression.GZIP),
        ("ja", InputKind.JSON_LINES, Compression.BZ2),
    ]


@pytest.mark.parametrize("other", ["enwiki-20240601-pages-articles.xml.bz2", "en.txt"])
def test_two_sources_of_a_wikipedia_are_refused(other):
    with pytest.raises(ValueError, match="en: expected one dump, or text"):
        find_inputs(["enwiki-20240501-pages-articles.xml.bz2", other])
