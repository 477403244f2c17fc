from collections import Counter
from html.parser import HTMLParser

import pyarrow as pa
import pytest
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.browse import sample_entries
from metaclip_core.metadata.merge import SourceLimits, merge, union
from metaclip_core.metadata.provenance import SourceFile, provenance
from metaclip_core.metadata.store import OFFERED, read_manifest, read_table, write_metadata
from pipelines.metadata_report import metadata_page

LOCAL = fs.LocalFileSystem()
HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}</span></details><script>"
LIMITS = [
    SourceLimits(name="number"),
    SourceLimits(name="wordnet"),
    SourceLimits(name="unigram", cap=40),
    SourceLimits(name="title", share=0.76, cap=60),
]


class Page(HTMLParser):
    """Tags in order, attributes, and text by tag."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.texts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.texts.append(data)


def offered(words, score=1.0):
    return pa.table([list(words), [score] * len(words)], schema=OFFERED)


def tables():
    offers = {
        "en": {
            "wordnet": [offered([f"lemma {n}" for n in range(90)] + [HOSTILE])],
            "unigram": [offered([f"word{n}" for n in range(70)])],
            "title": [offered([f"Title of {n}" for n in range(120)])],
        },
        "ar": {"wordnet": [offered(["قطة", "كلب", "بيت كبير"])], "title": [offered(["القاهرة", "مكة (مدينة)"])]},
        "ja": {"unigram": [offered(["東京", "大阪"])], "title": [offered(["日本"])]},
        "roa_tara": {"title": [offered(["Tarde", "Bare"])]},
    }
    return {language: merge(of_language, LIMITS) for language, of_language in offers.items()}


@pytest.fixture
def folder(tmp_path):
    merged = tables()
    entries = {language: result.table for language, result in merged.items()}
    entries["other"] = union({"roa_tara": entries.pop("roa_tara")}, LIMITS)
    write_metadata(
        LOCAL,
        str(tmp_path),
        entries,
        provenance=provenance(
            files=[
                SourceFile(
                    source="wordnet",
                    name=f"{HOSTILE}/wn-data-arb.tab",
                    num_bytes=1_234_567,
                    digest="sha256:" + "ab" * 32,
                    licences=("CC BY SA 3.0", HOSTILE),
                    languages=("ar",),
                ),
                SourceFile(source="title", name="s3://me:secret@b/pageviews.gz", num_bytes=5, digest="sha256:00"),
            ],
            merged={language: result.sources for language, result in merged.items()},
            missing=["bigram", HOSTILE],
            num_words={"en": 4_321_000, "other": 99},
            funnel=Funnel(
                rows_in=Counter({"wikipedia files": 7_654}), dropped=Counter({("wikipedia files", HOSTILE): 3_210})
            ),
            settings={"share": 0.76, "root": "s3://me:secret@bucket/x", "note": HOSTILE},
        ),
    )
    return str(tmp_path)


@pytest.fixture
def page(folder):
    manifest = read_manifest(LOCAL, folder)
    samples = {name: sample_entries(read_table(LOCAL, folder, name), per_source=8) for name in manifest.sources}
    return metadata_page(manifest, samples, name=f"demo {HOSTILE}")


def test_page_escapes_whatever_it_is_given(page):
    parsed = Page(page)
    assert not {"img", "script"} & set(parsed.tags)
    assert "".join(parsed.texts).count(HOSTILE) >= 6
    assert not [value for name, value in parsed.attributes if name.startswith("on") or name in {"src", "href"}]
    assert {value for name, value in parsed.attributes if name == "dir"} == {"auto"}


def test_page_shows_no_password(page):
    assert "secret" not in page


def test_page_has_every_language_source_and_number(page):
    text = " ".join(Page(page).texts)
    for expected in ("ar", "ja", "other", "wordnet", "title", "القاهرة", "東京", "1,234,567", "291"):
        assert expected in text
    assert "roa_tara" not in text


def test_page_shows_the_words_of_a_language_and_what_was_not_read(page):
    text = " ".join(" ".join(Page(page).texts).split())
    assert "4,321,000" in text
    for expected in ("wikipedia files 7,654 3,210", "4,444"):
        assert expected in text


def test_page_marks_exactly_the_caps_that_were_reached(page):
    body = page.split("</ul>")[1]
    assert body.count('class="cap"') == 2  # English unigrams and titles


def test_page_is_the_same_twice(folder):
    manifest = read_manifest(LOCAL, folder)
    assert metadata_page(manifest, {}, name="a") == metadata_page(manifest, {}, name="a")


def test_page_of_imported_metadata_needs_no_statistics(tmp_path):
    table = pa.table({"entry": ["a"], "source": ["import"], "score": [0.0]})
    manifest = write_metadata(LOCAL, f"{tmp_path}/m", {"en": table}, provenance={"imported_from": "s3://u:pw@b/lists"})
    page = metadata_page(manifest, {}, name="imported")
    assert "s3://b/lists" in page
    assert "Optional sources" not in page
    assert "words read" not in page
    assert "What was read" not in page


def test_page_of_no_language_is_a_page(tmp_path):
    manifest = write_metadata(LOCAL, f"{tmp_path}/m", {}, provenance={})
    assert "</html>" in metadata_page(manifest, {}, name="none")
