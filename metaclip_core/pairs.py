"""The name of a pair: the same for the same URL in every shard, so that duplicates share their draws."""

from __future__ import annotations

import hashlib
import re

NUM_HEX_DIGITS = 24

MAX_URL_CHARS = 4_096

_STATED = re.compile(f"[0-9a-f]{{{NUM_HEX_DIGITS}}}")
_BLANKS = str.maketrans("", "", "\t ")


def pair_id(url: str | None, fallback: str) -> str:
    """First 24 hex digits of the SHA-224 of `url` without its tabs and blanks.

    Args:
        url: address of the image as the pool gives it; None, or nothing but tabs and blanks, where it has none.
        fallback: names the pair when there is no URL: `pool-relative shard name/key`, hashed as it stands.

    Lone surrogates, which are no text but which JSON can spell, are hashed by their code points; nothing raises.
    """
    name = (url or "").translate(_BLANKS) or fallback
    return hashlib.sha224(name.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()[:NUM_HEX_DIGITS]


def stated_id(value: object) -> str | None:
    """The id that a pool itself gives a pair, as an exported one does; None for all that is not spelt as one.

    It is trusted as far as a URL is: whoever wrote the pool could have forged either.
    """
    return value if isinstance(value, str) and _STATED.fullmatch(value) else None


def shown_url(url: str | None) -> str | None:
    """`url` as it is stored with a pair: cut after `MAX_URL_CHARS`, what is no text replaced; None if it is blank."""
    if not (url or "").translate(_BLANKS):
        return None
    return str(url)[:MAX_URL_CHARS].encode("utf-8", "replace").decode()
