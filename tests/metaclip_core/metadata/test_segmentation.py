import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.funnel import Funnel
from metaclip_core.metadata.segmentation import WORDS, WordDrop, phrases, separator, words
from metaclip_core.text import Normaliser

NORMALISER = Normaliser()


def shown(text, language):
    return [" ".join(phrase) for phrase in phrases(text, language)]


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        ("en", "The red car", ["The red car"]),
        ("en", "Paris, France. It is", ["Paris", "France", "It is"]),
        ("en", "one\ntwo", ["one", "two"]),
        ("en", "don't O’Brien's dogs' bowl 'quoted'", ["don't O’Brien's dogs", "bowl", "quoted"]),
        ("en", "World War 2 began in 1990s 3D", ["World War", "began in 1990s 3D"]),
        ("en", "Tokyo 東京タワー 大阪", ["Tokyo 東京タワー 大阪"]),
        ("en", "état\u00ad-major e\u0301tat", ["état", "major état"]),
        ("en", "\ufdd0a\ufdd0b", ["a b"]),
        ("uk", "п'ять слів", ["п'ять слів"]),
        ("he", "צה״ל", ["צה״ל"]),
        ("ca", "col·laborar", ["col·laborar"]),
        ("hi", "हिन्दी भाषा", ["हिन्दी भाषा"]),
        ("zh", "我們在北京大學，學習中文", ["我們 在 北京 大學", "學習 中文"]),
        ("zh", "學習GPU和 iPhone X 发布", ["學習 GPU 和 iPhone", "X 发布"]),
        ("ja", "東京都で日本語を勉強", ["東京 都 で 日本語 を 勉強"]),
        ("ja", "東京 大阪", ["東京", "大阪"]),
        ("th", "ภาษาไทยเป็น ภาษาที่สวยงาม", ["ภาษา ไทย เป็น", "ภาษา ที่ สวยงาม"]),
        ("lo", "ພາສາລາວເປັນພາສາ", ["ພາສາ ລາວ ເປັນ ພາສາ"]),
        ("km", "ភាសាខ្មែរជាភាសាផ្លូវការ", ["ភាសាខ្មែរ ជា ភាសាផ្លូវការ"]),
        ("my", "မြန်မာဘာသာစကားသည်", ["မြန်မာဘာသာ စကား သည်"]),
        ("bo", "བོད་སྐད་ནི། ཡིག་ཡིན། བོད སྐད", ["བོད སྐད ནི", "ཡིག ཡིན", "བོད", "སྐད"]),
        ("dz", "རྫོང་ཁ་་འབྲུག", ["རྫོང ཁ", "འབྲུག"]),
        ("en", "", []),
        ("zh", "12 。、", []),
    ],
)
def test_words_that_are_neighbours_are_a_phrase(language, text, expected):
    assert shown(text, language) == expected


def test_bigrams_are_joined_as_the_language_writes_them():
    assert [separator(language) for language in ("en", "ja", "th", "bo", "dz")] == [" ", "", "", "་", "་"]


def test_words_are_those_of_all_phrases():
    assert words("Paris, France\nin 2024", "en") == ["Paris", "France", "in"]


def test_a_word_longer_than_an_entry_is_dropped_and_parts_the_phrase():
    funnel = Funnel()
    longest, too_long = "x" * 256, "y" * 257
    found = list(phrases(f"a b {too_long} {longest} c {too_long}\n{too_long}", "en", funnel=funnel))
    assert found == [["a", "b"], [longest, "c"]]
    assert funnel.rows_in == {WORDS: 7}
    assert funnel.dropped == {(WORDS, WordDrop.OVER_LIMIT): 3}


SCRIPTS = st.text(
    st.sampled_from("abÉ'’·. ,\n12東京のカー々〇ไทยัี่ကမြန်བོད་།हिन्\u0301\u200d\u200b\u00ad\ufe0f״צ😀𠮷한"),
    max_size=25,
)


@given(
    text=SCRIPTS | st.text(max_size=25), language=st.sampled_from(["en", "zh", "ja", "th", "my", "shn", "bo", "tdd"])
)
def test_words_and_bigrams_are_found_in_the_normalised_form_of_their_text(text, language):
    text = re.sub("[\ufdd0-\ufdef]", "", text)  # no characters
    caption = NORMALISER.caption(text)
    for phrase in phrases(text, language):
        joined = [separator(language).join(pair) for pair in pairwise(phrase)]
        for entry in (*phrase, *joined):
            assert NORMALISER.entry(entry)
            assert NORMALISER.entry(entry) in caption
