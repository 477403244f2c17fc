"""One table of languages: what others call a language → the metadata language that its captions are matched in.

Metadata languages bear the codes of Wikipedia, with `_` for `-`. Bosnian, Croatian, Serbian and Serbo-Croatian are four
of them, as they are four Wikipedias and four labels of lid.176. A code means what its namespace says: `als` is
Alemannic to Wikipedia and to lid.176, and Tosk Albanian to ISO 639-3 and to WordNet.

- A variety that is written as its language merges into it (`zh_yue` → `zh`, `simple` → `en`); one with a spelling or a
  script of its own stays a language (`hyw`, `azb`, `zh_min_nan`). The table's `note` says why.
- An individual language of an ISO 639-3 macrolanguage goes to the macrolanguage's Wikipedia, unless it has its own.
- A Wikipedia that lid.176 cannot name is a metadata language all the same, for another identifier reaches it. One that
  not even ISO 639-3 can name would never meet a caption: it goes to `other`, as an unknown label does.

The table is `data/languages.tsv`; a new namespace is a member of `Namespace` and rows.
"""

from __future__ import annotations

import csv
import re
from enum import StrEnum
from functools import lru_cache
from importlib import resources

OTHER = "other"

UNSPACED_LANGUAGES = frozenset(  # written without spaces between words
    {"blk", "bo", "dz", "ja", "km", "lo", "mnw", "my", "rki", "shn", "tdd", "th", "zh"}
)


class Namespace(StrEnum):
    """Whose labels they are."""

    LID176 = "lid176"  # fastText's lid.176
    CLD2 = "cld2"  # what pycld2 names; those that it has no model for are `OTHER`
    WORDFREQ = "wordfreq"
    NUM2WORDS = "num2words"
    WORDNET = "wordnet"  # Princeton's and the Open Multilingual WordNet's: ISO 639-3, as its tab files are named
    WIKIPEDIA = "wikipedia"  # codes of all Wikipedias, closed ones and aliases too
    ISO639 = "iso639"  # ISO 639-1, -2 and -3, with a script or a region or without: zh, zho, cmn_Hans, pt-BR, eng_Latn


# People write these in any case and with either separator; the others are printed by programs, in one way.
_WRITTEN_BY_PEOPLE = frozenset({Namespace.WIKIPEDIA, Namespace.ISO639})

# A language, its script, region and variants, as GlotLID, NLLB, FLORES and BCP 47 join them.
_TAG = re.compile(r"(?P<language>[a-z]{2,3})(?P<script>_[a-z]{4})?(?:_[a-z]{2}|_[0-9]{3})?(?:_[a-z0-9]{4,8})*")


def metadata_language(label: str, *, namespace: Namespace | str = "lid176") -> str:
    """The metadata language of `label`; `OTHER` for a label that the table does not have.

    Labels of Wikipedia and of ISO 639 may be in any case, with `-` or `_`. One of ISO 639 may have a script, a region
    and variants. The script counts where the table says so (`nan_Hant` is `zh`, `nan` is `zh_min_nan`), the rest never.

    Raises:
        ValueError: no such namespace.
    """
    namespace = Namespace(namespace)
    labels = _table()[namespace]
    if namespace in _WRITTEN_BY_PEOPLE:
        label = label.lower().replace("-", "_")
    if namespace is Namespace.ISO639 and label not in labels and (tag := _TAG.fullmatch(label)):
        language, script = tag["language"], tag["script"] or ""
        label = language + script if language + script in labels else language
    return labels.get(label, OTHER)


def is_label(label: str, *, namespace: Namespace | str) -> bool:
    """Whether the table has `label`, as a language or as one that goes to `OTHER`.

    Raises:
        ValueError: no such namespace.
    """
    namespace = Namespace(namespace)
    written = label.lower().replace("-", "_") if namespace in _WRITTEN_BY_PEOPLE else label
    return metadata_language(label, namespace=namespace) != OTHER or written in _table()[namespace]


def languages() -> frozenset[str]:
    """Every metadata language, `OTHER` included."""
    return frozenset({OTHER}.union(*(rows.values() for rows in _table().values())))


def reachable(namespace: Namespace | str) -> frozenset[str]:
    """The metadata languages that a label of `namespace` can name, without `OTHER`.

    An identifier with these labels never gives another one, whose metadata would then match no caption.

    Raises:
        ValueError: no such namespace.
    """
    return frozenset(_table()[Namespace(namespace)].values()) - {OTHER}


def is_unspaced(language: str) -> bool:
    """Whether metadata of `language` joins the words of a bigram without a space."""
    return language in UNSPACED_LANGUAGES


@lru_cache(maxsize=1)
def _table() -> dict[Namespace, dict[str, str]]:
    text = (resources.files("metaclip_core.data") / "languages.tsv").read_text(encoding="utf-8")
    table: dict[Namespace, dict[str, str]] = {namespace: {} for namespace in Namespace}
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        table[Namespace(row["namespace"])][row["label"]] = row["language"]
    return table
