"""The page of a card, from numbers and texts that mean no good."""

import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from metaclip_core.balancing import thresholds
from metaclip_core.card.card import CuratedPool, facts_of_languages, make_card, wanted_names
from metaclip_core.card.survey import survey_sample
from metaclip_core.counting import Measure
from metaclip_core.funnel import Funnel
from metaclip_core.records import SAMPLED, DropReason, Stage
from metaclip_core.sampling import ProbabilityTables, expected_kept
from pipelines.card_page import card_page, pictured
from pipelines.pictures import Picture
from tests.annotated_pools import counts_of, pool_of, uneven_pool

HOSTILE = "<img src=x onerror=alert(1)>\"'&{{ 7*7 }}</p></ul><script>"
PICTURE = Picture("data:image/jpeg;base64,/9j/", None)
VOID = {"meta", "img", "i"}


class Page(HTMLParser):
    """Tags that are closed again, attributes, and texts."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open_tags, self.attributes, self.texts = set(), [], [], []
        self.feed(text)
        assert self.open_tags == []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in VOID:
            self.open_tags.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open_tags.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.texts).split())


def hostile(pairs):
    """The same pairs with captions and kinds that mean no good."""
    records = pairs.to_pylist()
    for record in records:
        for caption in record["captions"]:
            caption["text"] = f"{HOSTILE} {caption['text']} قطة"
            caption["kind"] = HOSTILE
    return pa.Table.from_pylist(records, pairs.schema)


def card_of(pairs, *, name="numbers", p=0.2, entry=str):
    counts = counts_of(pairs)
    has_matches = counts.total(Measure.MATCHED_PAIRS) > 0
    t = thresholds(counts.matches, p=p).t if has_matches else {}
    tables = ProbabilityTables(counts.matches, t)
    funnel = Funnel()
    funnel.enter(Stage.DEDUPLICATE, 700)
    funnel.drop(Stage.DEDUPLICATE, DropReason.DUPLICATE, 1_234)
    pool = CuratedPool(name, counts, p, t, expected_kept(pairs, tables), funnel, {"counts": f"s3://b/{name}"})
    sample = pairs.append_column(SAMPLED.field("inclusion"), pa.array(np.ones(pairs.num_rows)))
    survey = survey_sample([sample], tables, epoch=0, seed=0, examples_per_fate=2)
    facts = facts_of_languages(pool)
    wanted = wanted_names(pool, facts, survey)
    names = {language: {number: entry(number) for number in ids} for language, ids in wanted.items()}
    return make_card(pool, facts, survey, names, epoch=0, seed=0), counts.matches


def page_of(pairs, *, picture=PICTURE, **options):
    card, matches = card_of(pairs, **options)
    shown = [example.pair.pair_id for language in pictured(card) for example in language.examples]
    return card, card_page(card, version="v1", matches=matches, pictures=dict.fromkeys(shown, picture))


@pytest.fixture(scope="module")
def page():
    return page_of(uneven_pool(300))


def test_page_shows_numbers_and_every_language(page):
    card, text = page
    parsed = Page(text)
    for expected in ("numbers", "data card", "1,234", "s3://b/numbers", f"{card.captions:,}", "300"):
        assert expected in parsed.text
    for language in card.languages:
        assert f">{language.language}</td>" in text
    assert parsed.text.count(" drawn ") >= len([language for language in card.languages if language.t])
    assert text.count("<svg") == 1 + 5 + 2  # shares, curves of languages with matches, lengths and confidence


def test_page_shows_a_picture_for_each_example(page):
    card, text = page
    examples = [example for language in pictured(card) for example in language.examples]
    assert text.count(f'<img src="{PICTURE.uri}"') == len(examples) > 10
    for example in examples:
        assert example.pair.text in unescape(text)


def test_page_loads_and_runs_nothing_whatever_it_is_given():
    pairs = hostile(uneven_pool(100))
    _, text = page_of(pairs, name=HOSTILE, entry=lambda _: HOSTILE, picture=Picture(None, HOSTILE))
    parsed = Page(text)
    assert not {"img", "script", "link", "iframe", "a"} & parsed.tags
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on") or name in {"src", "href"}]
    assert parsed.text.count(HOSTILE) > 20


def test_pictures_are_the_only_sources(page):
    sources = {(tag, value) for tag, name, value in Page(page[1]).attributes if name in {"src", "href"}}
    assert sources == {("img", PICTURE.uri)}


def test_captions_stand_in_their_direction_and_language(page):
    attributes = Page(page[1]).attributes
    assert ("p", "dir", "auto") in attributes
    languages = {value for tag, name, value in attributes if name == "lang" and tag != "html"}
    assert {"ja", "de", ""} <= languages  # no common code says `other`
    assert "other" not in languages


def test_page_says_why_there_is_no_picture():
    _, text = page_of(uneven_pool(60), picture=Picture(None, "image_broken"))
    assert "image broken" in Page(text).text
    assert "<img" not in text


def test_page_is_the_same_twice():
    assert page_of(uneven_pool(50))[1] == page_of(uneven_pool(50))[1]


def test_page_of_a_pool_without_matches_or_pairs_is_a_page():
    for pairs in (pool_of([[("en", [])], [("other", [])]]), pool_of([])):
        _, text = page_of(pairs)
        Page(text)
        assert not re.search(r"\bnan\b|\binf\b|None", Page(text).text)
