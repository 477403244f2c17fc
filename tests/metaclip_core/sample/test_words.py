from metaclip_core.sample.captions import BARE_SHARE, ENGLISH_SHARE, language_shares
from metaclip_core.sample.carriers import CARRIERS
from metaclip_core.sample.words import capitalised, number_words


def test_number_words_are_a_hundred_different_texts_in_every_language():
    for code, words in number_words().items():
        assert len(set(words)) == 100, code
        assert all(word and word == " ".join(word.split()) for word in words), code


def test_number_words_leave_out_variants_and_the_languages_with_errors():
    assert not {"da", "kn", "fr_CH", "en_IN"} & number_words().keys()


def test_capitalised_dotted_i_and_dutch_one_follow_their_languages():
    assert capitalised("iki", "tr") == "İki"
    assert capitalised("één", "nl") == "Eén"
    assert capitalised("été", "fr") == "Été"
    assert capitalised("二十", "ja") == "二十"


def test_language_shares_cover_every_spoken_language_once():
    codes, shares = language_shares()
    assert sorted(codes) == sorted(number_words())
    assert abs(shares.sum() - 1) < 1e-9
    share = dict(zip(codes, shares, strict=True))
    assert share["en"] == ENGLISH_SHARE
    assert min(share[code] for code in CARRIERS) > 0.02
    assert abs(sum(share[code] for code in codes if code not in CARRIERS) - BARE_SHARE) < 1e-9
