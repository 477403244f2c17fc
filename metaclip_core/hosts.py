"""Whose address it is: the host of a URL in the one spelling by which hosts are compared.

The URLs of a pool are what pages hold, so they are read as a browser does: blanks at the start, tabs and line ends go,
a backslash is a slash, one slash or three are as good as two, and what is percent-encoded or full-width in a host is
its plain letter. Where a browser would give up, the likeliest host is taken: who blocks a host means it.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

import idna
import pyarrow as pa
import pyarrow.compute as pc

_MAX_HOST_CHARS = 253
_LINE_ENDS = "[\t\n\r]"
# for RE2 and for re; case is spelt out, for they fold it differently
_AUTHORITY = r"^[\x00-\x20]*(?:[hH][tT][tT][pP][sS]?:|[A-Za-z][A-Za-z0-9+.-]*:[/\\])?[/\\]*(?P<authority>[^/\\?#]*)"
_AUTHORITY_OF_ONE = re.compile(_AUTHORITY)
_PORT = re.compile(r":([^\]:]*)$")
_DEFAULT_PORTS = {"", "80", "443"}
_HOST = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")
_IP_LITERAL = re.compile(r"\[[0-9a-f:.]+\]")
_PUNYCODE = "xn--"


def authorities(urls: pa.StringArray) -> pa.StringArray:
    """What stands where a URL has user, host and port, as it stands there; vectorised."""
    plain = pc.replace_substring_regex(urls, _LINE_ENDS, "")
    return pc.struct_field(pc.extract_regex(plain, _AUTHORITY), "authority")


def host_of(authority: str) -> str | None:
    """The host of an authority as `spell_host` spells it."""
    return spell_host(_PORT.sub("", authority.rpartition("@")[2]))


def spell_host(host: str) -> str | None:
    """A host in lower case, in ASCII, without the dot at its end; None for what is no host.

    Letters beyond ASCII are mapped as UTS 46 says, then written in Punycode: `Bücher.example` and
    `xn--bcher-kva.example` are one host. Underscores pass, though no name may hold any, for the web has them.
    """
    if not host.isascii() or "%" in host:
        host = _to_ascii(unquote(host)) or ""
    host = host.lower().removesuffix(".")
    if len(host) > _MAX_HOST_CHARS or not (_HOST.fullmatch(host) or _IP_LITERAL.fullmatch(host)):
        return None
    return host


def spell_address(url: str) -> str | None:
    """Host, port, path and query of a URL, to be compared by their beginnings; None where there is no host.

    The scheme, a port that is http's or https's, and the fragment go; percent signs are decoded and dot segments
    resolved. `https://user@Example.org:443/a/../b%20c?d` gives `example.org/b c?d`.
    """
    url = re.sub(_LINE_ENDS, "", url)
    match = _AUTHORITY_OF_ONE.match(url)
    host = host_of(match["authority"]) if match else None
    if match is None or host is None:
        return None
    port = _PORT.search(match["authority"])
    place = host if port is None or port[1] in _DEFAULT_PORTS else f"{host}:{port[1]}"
    path, question_mark, query = url[match.end() :].partition("#")[0].partition("?")
    path = _resolve(unquote(path.replace("\\", "/")))
    return f"{place}{path}{question_mark}{unquote(query)}"


def _to_ascii(host: str) -> str | None:
    if len(host) > _MAX_HOST_CHARS:
        return None
    try:
        mapped = idna.uts46_remap(host, std3_rules=False, transitional=False)
    except idna.IDNAError:
        return None
    labels = mapped.split(".")
    return ".".join(x if x.isascii() else _PUNYCODE + x.encode("punycode").decode() for x in labels)


def _resolve(path: str) -> str:
    """An absolute path without `.` and `..`."""
    kept: list[str] = []
    *folders, last = path.removeprefix("/").split("/")
    for part in (*folders, last):
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if last in {".", ".."}:
        kept.append("")
    return "/" + "/".join(kept)
