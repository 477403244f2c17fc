"""One table of languages: what others call a language → the metadata language that its captions are matched in.

Metadata languages bear the codes of Wikipedia, with `_` for `-`. Bosnian, Croatian, Serbian and Serbo-Croatian are four
of them, as they are four Wikipedias and four labels of the identifier. A language that the identifier does not know
would never meet a caption: it goes to `other`, as an unknown label does. A code means what its namespace says: `als` is
Alemannic to Wikipedia and to the identifier, and Tosk Albanian to ISO 639-3.

The table is `data/languages.tsv`; a new namespace is a member of `Namespace` and rows.
"""

from __future__ import annotations

import csv
from enum import StrEnum
from functools import lru_cache
from importlib import resources

OTHER = "other"

UNSPACED_LANGUAGES = frozenset({"bo", "dz", "ja", "km", "lo", "my", "th", "zh"})  # written without spaces between words


class Namespace(StrEnum):
    """Whose labels they are."""

    LID176 = "lid176"  # fastText's lid.176
    WORDFREQ = "wordfreq"
    NUM2WORDS = "num2words"


def metadata_language(label: str, *, namespace: Namespace | str = "lid176") -> str:
    """The metadata language of `label`; `OTHER` for a label that the table does not have.

    Raises:
        ValueError: no such namespace.
    """
    return _table()[Namespace(namespace)].get(label, OTHER)


def languages() -> frozenset[str]:
    """Every metadata language, `OTHER` included."""
    return frozenset({OTHER}.union(*(rows.values() for rows in _table().values())))


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
