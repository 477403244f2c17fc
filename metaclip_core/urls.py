"""Addresses of images as pages write them → one spelling that every downloader takes, and that names the pair.

What browsers do is done: blanks at the ends, tabs and line ends go, a backslash is a slash, and what ASCII lacks is
percent-encoded. The fragment goes, for it is never asked for. Percent signs stay as they are.
"""

from __future__ import annotations

import re
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

from metaclip_core.records import DropReason
from metaclip_core.sifting import is_broken

_SCHEMES = ("http", "https")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_ENDS = "".join(map(chr, range(0x21)))  # controls and the blank
_LINE_ENDS = str.maketrans("", "", "\t\n\r")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HOST = re.compile(r"[a-z0-9._:-]+")
_PLAIN_CHARACTERS = r"[A-Za-z0-9!$&'()*+,=~_.%@-]"  # of a path, without the slash, colon and semicolon
_ABSOLUTE = re.compile(
    rf"(?P<path>(?P<site>https?://[a-z0-9.-]+)/(?:{_PLAIN_CHARACTERS}|[/:])*)(?:\?(?:{_PLAIN_CHARACTERS}|[/:?;])+)?"
)
_RELATIVE = re.compile(
    rf"/?(?!\.)(?:{_PLAIN_CHARACTERS}+/(?!\.))*{_PLAIN_CHARACTERS}+(?:\?(?:{_PLAIN_CHARACTERS}|[/:?;])+)?"
)
_KEPT = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"<>\\^`{|}')


def resolve_url(link: str, base: str, *, max_chars: int) -> str | DropReason:
    """The absolute http(s) address of `link` on a page whose base is `base`; empty where none is known."""
    link = link.strip(_ENDS).translate(_LINE_ENDS)
    if not link:
        return DropReason.URL_EMPTY
    scheme = _SCHEME.match(link)
    if scheme is not None and scheme[1].lower() not in _SCHEMES:
        return DropReason.URL_NOT_HTTP  # data:, javascript:, …
    if len(link) > max_chars:
        return DropReason.URL_OVER_LIMIT
    url = _join_plain(link, base)
    if url is None and not (is_broken(link) or _CONTROL.search(link)):
        url = _spell(_with_slashes(link), base)
    if url is None:
        return DropReason.URL_BROKEN
    return url if len(url) <= max_chars else DropReason.URL_OVER_LIMIT


def _join_plain(link: str, base: str) -> str | None:
    """What `_spell` gives, ten times as fast, for the forms that most links have; None for all others."""
    if _ABSOLUTE.fullmatch(link):
        return link
    if not _RELATIVE.fullmatch(link) or "/." in base or (site := _ABSOLUTE.fullmatch(base)) is None:
        return None
    folder = site["site"] if link[0] == "/" else base[: site.end("path")].rpartition("/")[0] + "/"
    return folder + link if "//" not in folder[len("https://") :] else None


def _with_slashes(link: str) -> str:
    address, question_mark, query = link.partition("?")
    return address.replace("\\", "/") + question_mark + query


def _spell(link: str, base: str) -> str | None:
    try:
        parts = urlsplit(urljoin(base, link))
        host, port = (parts.hostname or "").encode("ascii" if link.isascii() else "idna").decode(), parts.port
    except ValueError:  # a bad port, a bad IPv6 address, a host that is no name
        return None
    if parts.scheme not in _SCHEMES or not _HOST.fullmatch(host):  # no scheme: relative, and no base to say to what
        return None
    if ":" in host:
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{port}"
    path, query = (quote(part, safe=_KEPT) for part in (parts.path or "/", parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))
