import gzip
import lzma
import subprocess
import sys

import pytest
import wn.lmf
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.metadata import wordnet_formats
from metaclip_core.metadata.store import OFFERED
from metaclip_core.metadata.wordnet import FILES_STAGE, LEMMAS_STAGE, read_wordnets
from metaclip_core.metadata.wordnet_formats import FileNotes, lmf_words, princeton_words, reader_of, tab_words

LOCAL = fs.LocalFileSystem()

# As wndb(5WN) has them: licence, synsets with 1 to 3 words (the number is hexadecimal), pointers, a gloss.
NOUNS = """\
  1 This software and database is being provided to you, the LICENSEE, by
  2 WordNet 9.9 Copyright 2030 by Princeton University.  All rights reserved.
00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04424418 n 0000 | that which is perceived
00002084 05 n 03 domestic_dog 0 dog 0 Canis_familiaris 0 001 @ 00001740 n 0000 | a member of the genus Canis
00002137 15 n 02 St._Louis 0 Gateway_to_the_West 0 000 | a city
"""
ADJECTIVES = """\
00003131 00 a 02 galore(ip) 0 abounding(p) 0 000 | in great numbers
00003553 00 s 01 former(a) a 000 | belonging to the past
00003700 00 s 01 dog 1 000 | not real
"""
ALBANIAN = """\
# Albanet\tals\thttp://fjalnet.com/\tCC BY 3.0
00003553-n\tals:lemma\te plote
00003553-n\tals:lemma\tnjësi
00003553-n\tals:def\t0\tnjë përmbledhje
00003553-n\tals:exe\t0\tskuadra është një njësi
00004475-n\tlemma\tte_qenit
"""
LMF = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE LexicalResource SYSTEM "http://globalwordnet.github.io/schemas/WN-LMF-1.1.dtd">
<LexicalResource xmlns:dc="https://globalwordnet.github.io/schemas/dc/">
<Lexicon id="one" label="One" language="pt-BR" email="a@b.c" license="CC BY-SA 4.0" version="1">
<LexicalEntry id="one-gato-n"><Lemma writtenForm="gato" partOfSpeech="n"/><Form writtenForm="gatos"/>
<Sense id="one-1" synset="one-s1"/><Sense id="one-2" synset="one-s2"/></LexicalEntry>
<LexicalEntry id="one-felino-n"><Lemma writtenForm="felino &amp; Cia" partOfSpeech="n"/>
<Sense id="one-3" synset="one-s1"/></LexicalEntry>
<LexicalEntry id="one-so-n"><Lemma writtenForm="s&#243;" partOfSpeech="n"/></LexicalEntry>
<Synset id="one-s1" ili="i1" partOfSpeech="n" members="one-felino-n one-gato-n"><Definition>x</Definition></Synset>
<Synset id="one-s2" ili="i2" partOfSpeech="n"/>
</Lexicon>
<Lexicon id="two" label="Two" language="arb" email="a@b.c" license="wordnet" version="1">
<LexicalEntry id="two-1"><Lemma writtenForm="قطة" partOfSpeech="n"/><Sense id="two-s" synset="two-s1"/></LexicalEntry>
<Synset id="two-s1" ili="i1" partOfSpeech="n"/>
</Lexicon>
</LexicalResource>
"""


def read(folder, words="lemmas", **files):
    for name, content in files.items():
        path = folder / name.replace("__", ".").replace("--", "/")
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    funnel = Funnel()
    found = read_wordnets(LOCAL, str(folder), words=words, funnel=funnel)
    assert all(table.schema == OFFERED for table in found.tables.values())
    rows = {name: [tuple(row.values()) for row in table.to_pylist()] for name, table in found.tables.items()}
    return rows, found.files, funnel


def dropped(funnel, stage):
    return {reason: number for (at, reason), number in funnel.dropped.items() if at == stage and number}


def words_of(reader, content, name="x"):
    notes = FileNotes()
    content = content if isinstance(content, bytes) else content.encode()
    return [(word.label, word.text, word.is_head) for word in reader(name, content, notes)], notes


def test_princeton_lemmas_keep_their_case_and_lose_underscores_and_markers(tmp_path):
    rows, files, funnel = read(tmp_path, data__noun=NOUNS, dict__data__adj="", **{"d--data__adj": ADJECTIVES})
    assert rows == {
        "en": [
            ("dog", 2.0),
            ("Canis familiaris", 1.0),
            ("Gateway to the West", 1.0),
            ("St. Louis", 1.0),
            ("abounding", 1.0),
            ("domestic dog", 1.0),
            ("entity", 1.0),
            ("former", 1.0),
            ("galore", 1.0),
        ]
    }
    assert [(file.name, file.languages) for file in files] == [("d/data.adj", ("en",)), ("data.noun", ("en",))]
    assert files[1].licences == ("WordNet 9.9 Copyright 2030 by Princeton University.  All rights reserved.",)
    assert dropped(funnel, FILES_STAGE) == {"wordnet_file_unknown": 1}  # dict.data.adj


def test_heads_are_the_first_words_of_synsets(tmp_path):
    rows, _, funnel = read(tmp_path, "heads", data__noun=NOUNS, **{"wn-data-als__tab": ALBANIAN, "lmf__xml": LMF})
    assert {name: {entry for entry, _ in of_language} for name, of_language in rows.items()} == {
        "en": {"entity", "domestic dog", "St. Louis"},
        "sq": {"e plote", "te qenit"},
        "pt": {"felino & Cia", "gato"},  # by the members, and by the document
        "ar": {"قطة"},
    }
    assert dropped(funnel, LEMMAS_STAGE) == {"lemma_not_head": 6}


def test_tab_files_give_the_lemmas_of_their_language_and_their_licence(tmp_path):
    rows, files, _ = read(tmp_path, **{"als--wn-data-als__tab": ALBANIAN})
    assert rows == {"sq": [("e plote", 1.0), ("njësi", 1.0), ("te qenit", 1.0)]}
    assert files[0].licences == ("CC BY 3.0",)
    assert files[0].num_bytes == len(ALBANIAN.encode())


@pytest.mark.parametrize(
    ("code", "language"), [("als", "sq"), ("arb", "ar"), ("cmn", "zh"), ("zsm", "ms"), ("nob", "no"), ("nno", "nn")]
)
def test_codes_of_tab_files_are_iso_codes(tmp_path, code, language):
    rows, _, _ = read(tmp_path, **{f"wn-data-{code}__tab": "1-n\tlemma\tx\n"})
    assert list(rows) == [language]


def test_label_of_a_line_wins_over_the_header_and_the_header_over_the_name():
    content = "1-n\tlemma\ta\n# N\tjpn\tu\tl\n1-n\tlemma\tb\n1-n\tfra:lemma\tc\n"
    assert words_of(tab_words, content, "wn-data-ind.tab")[0] == [
        ("ind", "a", True),
        ("jpn", "b", True),
        ("fra", "c", True),
    ]


def test_other_forms_of_arabic_roots_are_no_lemmas():
    content = "1-n\tarb:lemma\tقِطَّة\n1-n\tarb:lemma:root\tقط\n1-n\tarb:lemma:brokenplural\tقطط\n"
    assert [text for _, text, _ in words_of(tab_words, content)[0]] == ["قِطَّة"]


def test_chinese_endings_are_joined_to_their_word():
    content = "1-a\tcmn:lemma\t一流+的\n1-r\tcmn:lemma\t一般+地\n1-n\tcmn:lemma\tC++\n"
    assert [text for _, text, _ in words_of(tab_words, content)[0]] == ["一流的", "一般地", "C++"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["xml", "gz", "xz"])
def test_lmf_gives_the_lemmas_of_all_its_lexicons(tmp_path, pack):
    suffix = {bytes: "xml", gzip.compress: "xml.gz", lzma.compress: "xml.xz"}[pack]
    rows, files, funnel = read(tmp_path, **{f"x.{suffix}": pack(LMF.encode())})
    assert rows == {"ar": [("قطة", 1.0)], "pt": [("gato", 2.0), ("felino & Cia", 1.0), ("só", 1.0)]}
    assert files[0].licences == ("CC BY-SA 4.0", "wordnet")
    assert files[0].languages == ("ar", "pt")
    assert not dropped(funnel, FILES_STAGE)


def test_lmf_agrees_with_the_library_of_the_format(tmp_path):
    path = tmp_path / "x.xml"
    path.write_text(LMF, encoding="utf-8")
    expected = {
        (lexicon["language"], entry["lemma"]["writtenForm"])
        for lexicon in wn.lmf.load(path, progress_handler=None)["lexicons"]
        for entry in lexicon["entries"]
    }
    assert {(label, text) for label, text, _ in words_of(lmf_words, LMF, "x.xml")[0]} == expected


BOMB = '<!DOCTYPE a [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "declaration",
    [
        BOMB,
        '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
    ],
)
def test_xml_that_declares_an_entity_is_refused(declaration):
    body = LMF.split("\n", 2)[2]
    words, notes = words_of(lmf_words, f'<?xml version="1.0"?>{declaration}{body}', "x.xml")
    assert words == []
    assert notes.file_drops == ["wordnet_file_unsafe"]


def test_xml_that_opens_a_document_type_elsewhere_opens_nothing(tmp_path):
    secret = tmp_path / "secret.dtd"
    secret.write_text('<!ENTITY x "secret">')
    body = LMF.split("\n", 2)[2].replace("gato", "&x;")
    words, _ = words_of(lmf_words, f'<!DOCTYPE a SYSTEM "file://{secret}">{body}', "x.xml")
    assert not any("secret" in text for _, text, _ in words)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
@pytest.mark.parametrize(("suffix", "pack"), [("xml", bytes), ("xml.gz", gzip.compress), ("xml.xz", lzma.compress)])
def test_lmf_that_is_cut_keeps_what_stands_before(share, suffix, pack):
    packed = pack(LMF.encode())
    words, notes = words_of(lmf_words, packed[: int(share * len(packed))], f"x.{suffix}")
    assert notes.file_drops == ["wordnet_file_broken"]
    whole = [text for _, text, _ in words_of(lmf_words, LMF, "x.xml")[0]]
    assert [text for _, text, _ in words] == whole[: len(words)]
    assert bool(words) == (share == 0.9)


@pytest.mark.parametrize(
    "content", [b"", b"\x00\x01", b"not xml", b"<a>", b"\xff\xfe<\x00a\x00", b"<?xml version='1.0' encoding='nope'?><b"]
)
def test_what_is_no_xml_is_broken(content):
    assert words_of(lmf_words, content, "x.xml")[1].file_drops == ["wordnet_file_broken"]


def test_xml_of_another_kind_is_unknown():
    assert words_of(lmf_words, "<rss/>", "x.xml")[1].file_drops == ["wordnet_file_unknown"]


def test_xml_beyond_the_limit_is_broken(monkeypatch):
    monkeypatch.setattr(wordnet_formats, "MAX_XML_BYTES", 1 << 20)
    packed = lzma.compress(LMF.replace("</Lexicon>\n<", "</Lexicon>" + " " * (3 << 20) + "<", 1).encode())
    words, notes = words_of(lmf_words, packed, "x.xml.xz")
    assert notes.file_drops == ["wordnet_file_broken"]
    assert {label for label, _, _ in words} == {"pt-BR"}


@pytest.mark.parametrize(
    "line",
    [
        "00002084 05 n 03 dog 0 hound 0 001 @ 00001740 n 0000 | three are said",
        "00002084 05 n 00 000 | none",
        "00002084 05 q 01 dog 0 000 | no part of speech",
        "2084 05 n 01 dog 0 000 |",
        "00002084 05 n zz dog 0 000 |",
        "00002084 05 n 01",
        "dog",
        "\x00" * 50,
        "00002084 05 n ff " + "dog 0 " * 3,
    ],
)
def test_a_broken_line_of_a_dictionary_is_counted_and_left_out(line):
    words, notes = words_of(princeton_words, f"{NOUNS}{line}\n")
    assert len(words) == 6
    assert notes.broken_lines == 1


def test_lines_that_are_no_utf8_or_lack_fields_are_counted(tmp_path):
    content = b"1-n\tlemma\tgood\n1-n\tlemma\t\xff\xfe\nx\n1-n\tlemma\n1-n\tlemma\t \n\n\r\n"
    rows, _, funnel = read(tmp_path, **{"wn-data-fra__tab": content, "data__noun": NOUNS.encode() + b"\xff\n"})
    assert rows["fr"] == [("good", 1.0)]
    assert dropped(funnel, LEMMAS_STAGE) == {"lemma_line_broken": 4, "lemma_blank": 1}
    assert funnel.rows_out(LEMMAS_STAGE) == 7


def test_words_of_an_unknown_language_are_counted(tmp_path):
    content = LMF.replace('"arb"', '"qqq"').replace('"pt-BR"', '""')
    rows, _, funnel = read(tmp_path, **{"a__xml": content, "wn-data-tlhx__tab": "1-n\tlemma\tx\n"})
    assert rows == {}
    assert dropped(funnel, LEMMAS_STAGE) == {"lemma_language_unknown": 6}


def test_senses_of_all_files_of_a_language_add_up_in_any_order(tmp_path):
    one, two = "1-n\tlemma\ta\n2-n\tlemma\tb\n", "7-n\teng:lemma\tb\n"
    first, _, _ = read(tmp_path / "1", **{"a--wn-data-eng__tab": one, "b--wn-data-eng__tab": two})
    second, _, _ = read(tmp_path / "2", **{"a--wn-data-eng__tab": two, "b--wn-data-eng__tab": one})
    assert first == second == {"en": [("b", 2.0), ("a", 1.0)]}


def test_a_folder_of_other_files_is_no_wordnet_and_counted(tmp_path):
    rows, files, funnel = read(tmp_path, README="x", LICENSE="y", index__noun="z", index__sense="", lexnames="")
    assert (rows, files) == ({}, [])
    assert dropped(funnel, FILES_STAGE) == {"wordnet_file_unknown": 5}


def test_a_folder_that_is_not_there_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nowhere")


@given(st.binary(max_size=400), st.sampled_from(["data.noun", "wn-data-fra.tab", "x.xml", "x.xml.gz", "x.xml.xz"]))
def test_bytes_of_any_kind_are_read(content, name):
    notes = FileNotes()
    for word in reader_of(name)(name, content, notes):
        assert isinstance(word.text, str)


@given(st.integers(0, len(LMF) - 1), st.binary(min_size=1, max_size=3))
def test_lmf_with_any_damage_is_read(place, damage):
    content = LMF.encode()
    words_of(lmf_words, content[:place] + damage + content[place + len(damage) :], "x.xml")


def test_importing_makes_no_folder_and_loads_no_network_client(tmp_path):
    program = (
        "import sys, metaclip_core.metadata.wordnet; print([m for m in ('httpx', 'nltk', 'wn') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", program], env={"HOME": str(tmp_path)}, check=True, capture_output=True)
    assert run.stdout.strip() == b"[]"
    assert list(tmp_path.iterdir()) == []
