import time

import mwparserfromhell
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.metadata.wikitext import CUT, WikitextDrop, plain_text

ARTICLE = """{{Infobox city|name={{PAGENAME}}|map=[[File:map.png|x]]
| area = {{convert|105|km2}}
}}
'''Paris''' is the [[capital city|capital]] of [[France]].<ref name="a">{{cite|Some book}}</ref><ref name=b /> It has
{{convert|5|km}} of roads&nbsp;here<!-- hidden -->.
{| class="wikitable"
! head
|-
| cell
{|
| nested
|}
| more
|}
== History ==
* one [https://example.com/a?b=c the site] or https://example.com/bare
* ''two'' <span style="color:red">red</span><br/>three
[[File:b.jpg|thumb|A [[cat]]
on two lines]]
<math>\\frac{a}{{b}}</math> __NOTOC__
[[bus]]es in [[2001: A Space Odyssey]]
[[Category:Cities]] [[Kategorie:Orte|Paris]] [[fr:Paris]] [[Datei:c.SVG|mini|Bild]]
"""


def seen(wikitext):
    """The words of the plain text, with what was cut."""
    return plain_text(wikitext).replace(CUT, f" {CUT} ").split()


def test_an_article_becomes_its_running_text():
    assert " ".join(seen(ARTICLE)) == (
        f"{CUT} Paris is the capital of France. It has {CUT} of roads here. "
        f"History one [ the site] or two red three {CUT} {CUT} buses in 2001: A Space Odyssey {CUT} {CUT} {CUT} {CUT}"
    )


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("a {{b}} c", f"a {CUT} c"),
        ("a<!-- b -->c", "ac"),
        ("a<!-- b", "a"),
        ("a<ref>b</ref>c<REF>d</Ref >e<ref/>f", "acef"),
        ("a <ref>b", "a b"),
        ("<references/>a", "a"),
        ("<refx>a</refx>", "a"),
        ("a <nowiki>[[b]]</nowiki> c", f"a {CUT} c"),
        ("{{a|{{b}}|{{c|{{d}}}}}} e", f"{CUT} e"),
        ("{{{a|{{b}}}}} c", f"{CUT}}} c"),
        ("a {{b [[c]]", "a b c"),
        ("a}} b", "a b"),
        ("a\n{|\n|b\n", "a"),
        ("a\n:{|\n|b\n|}c", "a\nc"),
        ("a\n|}\n| b\nc", "a\nc"),
        ("a [[b|'''c''' d]]e", "a c de"),
        ("l'''homme'''", "lhomme"),
        ("''l''''homme'''", "l'homme"),
        ("[[:Category:A|b]] [[Category:A|b]]", f"b {CUT}"),
        ("[[File:a.png|thumb|[[b]] c]] d", f"{CUT} d"),
        ("[[画像:a.jpg|b]]", CUT),
        ("[[Mission: Impossible]]", "Mission: Impossible"),
        ("[[a (b)|]] c", "c"),
        ("[[a", "[[a"),
        ("a]] b", "a]] b"),
        ("[[a]] &amp; b < c", "a & b < c"),
        ("&#99999999999999; a &#x41; &nosuch;", "a A &nosuch;"),
        ("-{A}- -{zh-hans:B;zh-hant:C}-", f"A {CUT}"),
        ("__KEIN_INHALTSVERZEICHNIS__ a __b", "a __b"),
        ("; a : b\n# c\n=== d ===", "a : b\nc\nd"),
        ("x = y == z", "x = y == z"),
        ("", ""),
    ],
)
def test_markup_is_read_as_mediawiki_means_it(wikitext, expected):
    assert plain_text(wikitext).split() == expected.split()


WORD = st.text("abcé東", min_size=1, max_size=4)
INLINE = st.recursive(
    WORD,
    lambda inner: st.one_of(
        inner.map(lambda text: f"''{text.replace(chr(39), '')}''"),  # italics in italics end them
        inner.map(lambda text: f"'''{text.replace(chr(39), '')}'''"),
        st.tuples(WORD, inner).map("[[{0[0]}|{0[1]}]]".format),
        inner.map("<i>{}</i>".format),
        inner.map("{{{{t|{}}}}}".format),
        WORD.map("<!-- {} -->".format),
        st.lists(inner, min_size=1, max_size=3).map(" ".join),
    ),
    max_leaves=6,
)


@given(lines=st.lists(INLINE, max_size=4))
def test_well_formed_markup_gives_the_words_that_the_parser_alone_gives(lines):
    wikitext = "\n\n".join(f"- {line}" for line in lines)
    expected = mwparserfromhell.parse(wikitext).strip_code().replace("'", "")
    assert plain_text(wikitext).replace(CUT, "").replace("'", "").split() == expected.split()


@given(st.text("{}[]|<>/!-='\n &#;:refabmth_*", max_size=300))
def test_any_text_is_read(wikitext):
    assert isinstance(plain_text(wikitext), str)


@pytest.mark.parametrize(
    "wikitext",
    [
        "{{" * 100_000,
        "[[" * 100_000,
        "[[a|" * 100_000,
        "{{a|" * 50_000 + "}}" * 50_000,
        "[[" * 50_000 + "]]" * 50_000,
        "{|\n|" * 50_000,
        "<b>" * 50_000,
        "<ref>" * 50_000,
        "<ref " * 50_000,
        "<ref></math>" * 50_000,
        "<!--" * 50_000,
        "-{" * 50_000,
        "''" * 50_000,
        "=" * 100_000 + "a",
        "__a_" * 50_000,
        "&#" + "9" * 100_000,
        "[http://a " * 30_000,
        "[[a [b {c <d & " * 3_000,
        "[[a|\n" * 50_000,
        " " * 100_000 + "|",
        "*#:;" * 50_000,
    ],
    ids=lambda text: text[:12],
)
def test_pathological_markup_is_bounded_in_time(wikitext):
    began_s = time.process_time()
    plain_text(wikitext)
    assert time.process_time() - began_s < 20


def test_more_open_brackets_than_the_parser_can_take_drop_the_page():
    assert plain_text("a\n" + "[[" * 100_000) is WikitextDrop.UNPARSABLE


def test_many_links_are_no_reason_to_drop_a_page():
    assert plain_text("[[a|b]] c\n" * 20_000) == "b c\n" * 20_000
