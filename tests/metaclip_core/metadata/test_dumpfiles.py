import pytest

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.compressed import Compression
from metaclip_core.metadata.dumpfiles import FILES_STAGE, FileDrop, InputKind, find_inputs


def read(*names):
    """The files to read, and how many of the others each reason took."""
    funnel = Funnel()
    files = find_inputs(names, funnel=funnel)
    assert funnel.rows_in == {FILES_STAGE: len(names)}
    return files, {reason: rows for (_, reason), rows in funnel.dropped.items() if rows}


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
    files, dropped = read(name)
    assert [(file.name, file.wiki) for file in files] == [(name, wiki)]
    assert dropped == {}


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
def test_what_is_no_dump_of_a_wikipedia_is_left_out_and_counted(name):
    assert read(name) == ([], {FileDrop.UNKNOWN: 1})


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
    [file], dropped = read(*names)
    assert dropped == {FileDrop.OTHER_EDITION: 3}
    assert (file.name, file.index, file.kind, file.compression) == (whole, index, InputKind.DUMP, Compression.BZ2)


def test_parts_are_all_read_each_with_its_own_index():
    names = [f"dewiki-20240501-pages-articles-multistream{part}.bz2" for part in ("1.xml-p1p9", "2.xml-p10p99")]
    indexes = [f"dewiki-20240501-pages-articles-multistream-index{part}.bz2" for part in ("1.txt-p1p9", "2.txt-p10p99")]
    files, dropped = read(*names, *indexes)
    assert [(file.name, file.index) for file in files] == [*zip(names, indexes, strict=True)]
    assert dropped == {}


def test_text_is_known_by_its_suffixes():
    kinds = [(file.wiki, file.kind, file.compression) for file in read("de.txt", "en.txt.gz", "jawiki-1.jsonl.bz2")[0]]
    assert kinds == [
        ("de", InputKind.TEXT, Compression.NONE),
        ("en", InputKind.TEXT, Compression.GZIP),
        ("ja", InputKind.JSON_LINES, Compression.BZ2),
    ]


@pytest.mark.parametrize("other", ["enwiki-20240601-pages-articles.xml.bz2", "en.txt"])
def test_two_sources_of_a_wikipedia_are_refused(other):
    with pytest.raises(ValueError, match="en: expected one dump, or text"):
        read("enwiki-20240501-pages-articles.xml.bz2", other)
