import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metaclip_core.text import Normaliser, NormaliserMode

UNICODE = Normaliser()
PAPER = Normaliser("paper")

# Every script and every oddity that the tables speak of, denser than st.text() has them.
ODD = "\u200c\u200d\u200b\u200e\u00ad\ufeff\ufe0f\u0301\u3099\u0e49\u094d\u20e3\U000e0067\U000e0100"
MIXED = "ab1Zé\u0623ङกข東々ーカが한Ω ' .,-_#€😀🇫🇷\U00020000\U0001d400\t\n\u00a0\u3000、。" + ODD
texts = st.text(st.sampled_from(MIXED) | st.characters(exclude_categories=["Cs"]), max_size=30)


def found(entry, caption, normaliser=UNICODE):
    form = normaliser.entry(entry)
    return form != "" and form in normaliser.caption(caption)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a red car", " a red car "),
        ("  a \t red\n\r\ncar\u00a0\u3000 ", " a red car "),
        ("a\x00b\x1fc\x7fd\x85e", " a b c d e "),
        ("the U.S. army", " the U . S . army "),
        ("don't, don’t", " don ' t , don ’ t "),
        ("my_photo-2.jpg", " my _ photo - 2 . jpg "),
        ("$50 (50 %)", " $ 50 ( 50 % ) "),
        ("C++ & C#", " C + + & C # "),
        ("«Été» – l’hiver…", " « Été » – l ’ hiver … "),
        ("画像50枚", " 画像 50 枚 "),
        ("Tシャツ", " T シャツ "),
        ("東京、大阪。", " 東京 、 大阪 。 "),
        ("人々とスーパー", " 人々とスーパー "),
        ("ﾊﾝｶｸ ＡＢＣ", " ﾊﾝｶｸ ＡＢＣ "),
        ("𠮷野家 𠀋x", " 𠮷野家 𠀋 x "),
        ("⼈工", " ⼈工 "),  # a Han radical, not a symbol
        ("ㄅㄆㄇ", " ㄅㄆㄇ "),
        ("วัดพระแก้วBangkokไทย", " วัดพระแก้ว Bangkok ไทย "),
        ("ปี๒๕๖๓ครับ", " ปี ๒๕๖๓ ครับ "),
        ("ລາວ10ກີບ", " ລາວ 10 ກີບ "),
        ("မြန်မာ၊ဘာသာ", " မြန်မာ ၊ ဘာသာ "),
        ("ភ្នំពេញ2020", " ភ្នំពេញ 2020 "),
        ("བོད་ཡིག", " བོད ་ ཡིག "),
        ("हिन्दी में", " हिन्दी में "),
        ("தமிழ், தமிழ்", " தமிழ் , தமிழ் "),
        ("서울의 봄", " 서울의 봄 "),
        ("love😍you❤️!", " love 😍 you ❤ ! "),
        ("🇫🇷👨‍👩‍👧", " 🇫 🇷 👨 👩 👧 "),
        ("1️⃣", " 1⃣ "),
        ("😀cafe\u0301", " 😀 café "),
        ("x\U0001d400y", " x\U0001d400y "),  # a letter beyond the basic plane
        ("a\U0001faf8b", " a \U0001faf8 b "),  # a pictograph that only later tables know
        ("\u06dd١٢", " \u06dd ١٢ "),
        ("", ""),
        (" \t ", ""),
        ("\ufeff\u200b", ""),
    ],
)
def test_caption_in_unicode_mode_reads_as_tokens_with_one_blank_between(caption, expected):
    assert UNICODE.caption(caption) == expected


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("car", " car "),
        ("St. Louis", " St . Louis "),
        ("U.S.", " U . S . "),
        ("東京", "東京"),
        ("Tシャツ", " T シャツ"),
        ("AKB48劇場", " AKB48 劇場"),
        ("東京2020", "東京 2020 "),
        ("50", " 50 "),
        ("๕๐", " ๕๐ "),
        ("ตู้", "ตู้"),  # ends with marks, which belong to an unspaced letter
        ("か゚", "か゚"),
        ("𠮷", "𠮷"),
        ("सी", " सी "),
        ("「東京」", " 「 東京 」 "),
        ("😀", " 😀 "),
        ("!", " ! "),
        ("", ""),
        ("  \u3000\n", ""),
        ("\u200d\u00ad", ""),
    ],
)
def test_entry_in_unicode_mode_has_a_blank_at_ends_that_are_not_unspaced(entry, expected):
    assert UNICODE.entry(entry) == expected


@pytest.mark.parametrize(
    ("entry", "caption"),
    [
        ("U.S.", "the U.S. army"),
        ("U.S.", "made in the U.S."),
        ("St. Louis", "A view of St. Louis, Missouri"),
        ("car", "(car)"),
        ("car", "car"),
        ("car", "car's"),
        ("東京", "東京都の夜"),
        ("シャツ", "Tシャツを買う"),
        ("T", "Tシャツを買う"),
        ("Tシャツ", "赤いTシャツを買う"),
        ("50", "画像50枚"),
        ("วัด", "ภาพวัดพระแก้ว"),
        ("café", "un cafe\u0301 noir"),
        ("が", "か\u3099いこく"),
        ("Å", "\u212b ngström"),
        ("می\u200cخواهم", "من می\u200cخواهم."),
        ("کتاب", "این کتاب\u200c است"),
        ("שלום", "\u200fשלום\u200e"),
        ("cooperation", "co\u00adoperation"),
        ("title", "\ufefftitle"),
        ("ប្រទេសកម្ពុជា", "ប្រទេស\u200bកម្ពុជា"),
        ("❤", "I ❤\ufe0f you"),
        ("❤️", "I ❤ you"),
        ("葛", "葛\U000e0100城市"),
        ("New York", "New\u00a0York  City"),
    ],
)
def test_entry_that_a_reader_sees_in_the_caption_is_found(entry, caption):
    assert found(entry, caption)


@pytest.mark.parametrize(
    ("entry", "caption"),
    [
        ("car", "two cars"),
        ("car", "scar"),
        ("Car", "a car"),
        ("5", "50 images"),
        ("๕", "ปี๕๐"),
        ("U.S.", "US army"),
        ("m", "50 m² flat"),
        ("e", "cafe\u0301"),  # a mark belongs to its letter
        ("क", "की"),
        ("کتاب", "کتاب\u200cها"),  # the non-joiner holds the word together
        ("ab", "a\u200cb"),
        ("서울", "서울의 봄"),
        ("東京", "東、京"),
        ("", "anything"),
        (" ", "any thing"),
    ],
)
def test_entry_that_is_not_in_the_caption_is_not_found(entry, caption):
    assert not found(entry, caption)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("क्\u200dष", " क्\u200dष "),
        ("a\u200c\u200cb", " a\u200c\u200cb "),
        ("\u200ca\u200d b\u200c", " a b "),
        ("a\u200c-b", " a - b "),
        ("ก\u200cข", " กข "),
        ("か\u200d\u3099", " が "),
        ("a\u200c東", " a 東 "),
        ("\u200c", ""),
    ],
)
def test_zero_width_joiners_stay_inside_words_and_go_elsewhere(text, expected):
    assert UNICODE.caption(text) == expected


def slow_class(character):
    """The module's classes in words, by Unicode names: an oracle for every assigned letter, digit, mark and symbol."""
    category = unicodedata.category(character)
    if category == "Cc" or category[0] == "Z":
        return "blank"
    if category[0] == "M":
        return "mark"
    if category[0] in "PS":
        return "symbol"
    name = unicodedata.name(character, "")
    scripts = (
        "CJK ",
        "HIRAGANA",
        "KATAKANA",
        "HALFWIDTH KATAKANA",
        "BOPOMOFO",
        "THAI ",
        "LAO ",
        "MYANMAR ",
        "KHMER ",
        "TIBETAN ",
        "TAI LE ",
        "NEW TAI LUE ",
        "TAI THAM ",
        "TAI VIET ",
        "HANGZHOU ",
        "VERTICAL KANA",
        "HENTAIGANA",
    )
    return "unspaced" if category != "Nd" and name.startswith(scripts) else "word"


def test_every_letter_of_the_basic_plane_is_spaced_as_its_script_is():
    strange = {}
    for code in [*range(0x10000), *range(0x1AFF0, 0x1B170), *range(0x1F000, 0x1FB00), *range(0x20000, 0x20010)]:
        character = chr(code)
        if unicodedata.category(character) in {"Cn", "Co", "Cs", "Cf"} or 0xFE00 <= code < 0xFE10:
            continue
        if unicodedata.normalize("NFC", character) != character:
            continue
        between = UNICODE.caption(f"a{character}東")
        expected = {
            "blank": " a 東 ",
            "mark": f" {unicodedata.normalize('NFC', 'a' + character)} 東 ",
            "symbol": f" a {character} 東 ",
            "word": f" a{character} 東 ",
            "unspaced": f" a {character}東 ",
        }[slow_class(character)]
        if between != expected:
            strange[character] = (unicodedata.name(character, hex(code)), between)
    allowed = {
        character
        for character in strange
        if character in "々〆〇〻〼" or 0x2E80 <= ord(character) < 0x2FE0 or 0x180B <= ord(character) <= 0x180F
    }
    assert {character: strange[character] for character in strange.keys() - allowed} == {}
    assert "々" in allowed


@given(texts)
@example("か\u200d\u3099")
@example("\u0301a")
def test_caption_normalised_twice_in_unicode_mode_is_the_same(text):
    once = UNICODE.caption(text)
    assert UNICODE.caption(once) == once


@given(texts)
def test_caption_in_unicode_mode_is_padded_and_has_single_blanks_only(text):
    form = UNICODE.caption(text)
    if form:
        assert form[0] == form[-1] == " "
        assert form.split() == form[1:-1].split(" ")


@given(texts)
def test_caption_in_unicode_mode_keeps_every_visible_character_in_order(text):
    gone = set(" \t\n\u00a0\u3000" + ODD.replace("\u0301", "").replace("\u3099", ""))

    def visible(string):
        string = unicodedata.normalize("NFC", "".join(c for c in string if c not in gone))
        return [c for c in string if unicodedata.category(c) not in {"Cf", "Cc", "Zs", "Zl", "Zp"} and c < "\U000e0000"]

    if not any(unicodedata.category(character).startswith("M") for character in text):
        assert visible(UNICODE.caption(text)) == visible(text)


@given(texts)
def test_entry_is_found_in_itself_as_a_caption(text):
    for normaliser in (UNICODE, PAPER):
        form = UNICODE.entry(text)
        assert form == "" or found(text, text)
        if normaliser.entry(text) == "":
            assert normaliser.caption(text).strip() == ""


@given(texts, texts, st.sampled_from([" ", ", ", "。", "😀"]))
def test_entry_beside_other_text_is_found_where_a_break_stands_between(entry, other, gap):
    joined = UNICODE.entry(entry) and not unicodedata.category(entry[0]).startswith(("M", "C"))
    if joined:
        assert found(entry, f"{other}{gap}{entry}{gap}{other}")


@given(st.text(st.characters(max_codepoint=127), max_size=40))
def test_ascii_text_by_the_fast_path_equals_that_by_the_general_one(text):
    with_letter = UNICODE.caption(text + " é")
    assert with_letter == (UNICODE.caption(text) or " ") + "é "


@given(st.text(st.characters(), max_size=20))
def test_any_string_with_lone_surrogates_too_is_accepted(text):
    for normaliser in (UNICODE, PAPER):
        assert isinstance(normaliser.caption(text), str)
        assert isinstance(normaliser.entry(text + "\ud800"), str)


@given(st.text(max_size=10) | st.sampled_from(["U.S.", "a ", " a", "東京", "カナ", "?x", "x—"]), st.text(max_size=30))
def test_paper_mode_on_any_text_equals_the_published_steps(entry, caption):
    expected = f" {caption.strip()} "
    for mark in ",.;:?!`":
        expected = expected.replace(mark, f" {mark} ")
    for blank in "\t\n\r":
        expected = expected.replace(blank, " ")
    assert PAPER.caption(caption) == expected
    assert entry in PAPER.entry(entry) or not entry.strip()


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("car", " car "),
        ("U.S.", " U.S."),
        ("St. Louis", " St. Louis "),
        ("東京", "東京"),
        ("カナ", " カナ "),  # the reference forgot kana
        ("Tシャツ", " Tシャツ "),
        ("วัด", "วัด"),
        ("50", " 50 "),
        ("«x»", " «x» "),
        ("「x」", "「x」"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_entry_in_paper_mode_has_blanks_where_the_reference_puts_them(entry, expected):
    assert PAPER.entry(entry) == expected


def test_paper_mode_repeats_what_the_reference_gets_wrong():
    assert PAPER.caption(" the U.S. army\tin  St. Louis ") == " the U . S .  army in  St .  Louis "
    assert not found("U.S.", "the U.S. army", PAPER)
    assert not found("St. Louis", "in St. Louis", PAPER)
    assert not found("シャツ", "白いシャツを", PAPER)
    assert found("東京", "東京都", PAPER)
    assert found("army", "the army, here", PAPER)


def test_the_mode_is_unicode_unless_said_otherwise():
    assert Normaliser().mode is NormaliserMode.UNICODE
    assert Normaliser("paper").mode is NormaliserMode.PAPER
    with pytest.raises(ValueError, match="other"):
        Normaliser("other")
