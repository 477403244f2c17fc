"""Metadata of the sample: frequent words and the cardinals, a text file for each metadata language."""

from __future__ import annotations

from wordfreq import available_languages, top_n_list

from metaclip_core.languages import metadata_language
from metaclip_core.sample.words import capitalised, number_words

WORDS_SOURCE = "wordfreq"
CARDINALS_SOURCE = "title"
_NUM_WORDS = 2_000


def metadata_files() -> dict[str, bytes]:
    """File name `<metadata language>.txt` → lines `entry<TAB>source`, entries unique, frequent words first.

    Cardinals stand in small letters and capitalised, as captions hold them. Languages that the metadata do not know
    share `other.txt`. The digits "0" to "99" are not here: every import of metadata adds them.
    """
    entries: dict[str, dict[str, str]] = {}
    for code in sorted(available_languages("small")):
        known = entries.setdefault(metadata_language(code, namespace="wordfreq"), {})
        for word in top_n_list(code, _NUM_WORDS, wordlist="small"):
            if not any(character.isdigit() for character in word):  # wordfreq writes 0000 for every number of four
                known.setdefault(word, WORDS_SOURCE)
    for code, words in number_words().items():
        known = entries.setdefault(metadata_language(code, namespace="num2words"), {})
        for word in words:
            known.setdefault(word, CARDINALS_SOURCE)
            known.setdefault(capitalised(word, code), CARDINALS_SOURCE)
    return {
        f"{language}.txt": "".join(f"{entry}\t{source}\n" for entry, source in known.items()).encode()
        for language, known in sorted(entries.items())
    }
