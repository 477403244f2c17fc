"""Links of Common Crawl's WAT records: which images a page shows, and what it says of them.

A record describes one response: its JSON lists the page's links, each with the attributes that the tag had. What the
web put there is of any shape; what does not fit costs its field, its link or its record, and is counted.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from metaclip_core.funnel import Funnel
from metaclip_core.links import CAPTION_KINDS, combine_captions
from metaclip_core.pairs import pair_id
from metaclip_core.records import DropReason, Stage
from metaclip_core.sifting import sift_caption
from metaclip_core.urls import resolve_url

_IMAGE = "IMG@/src"
_PAGE_URL = ("WARC-Header-Metadata", "WARC-Target-URI")
_HTML = ("Payload-Metadata", "HTTP-Response-Metadata", "HTML-Metadata")


@dataclass(frozen=True)
class LinkLimits:
    """What is longer is dropped, and counted."""

    max_url_chars: int = 4_096
    max_caption_chars: int = 5_000


@dataclass(frozen=True)
class _Page:
    url: str
    base: str


def read_links(content: bytes, *, limits: LinkLimits, funnel: Funnel) -> list[dict[str, Any]]:
    """The captioned images of one record, as rows of LINK in the page's order.

    Args:
        content: the JSON of a WAT record.
        limits: lengths.
        funnel: counts the record, its image links and their captions.
    """
    funnel.enter(Stage.RECORDS)
    try:
        envelope = _dig(json.loads(content.decode("utf-8", "replace")), "Envelope")
        html = _dig(envelope, *_HTML)
        links = _dig(html, "Links")
        page = _page(envelope, html, limits)
    except (ValueError, RecursionError, _ShapeError):
        funnel.drop(Stage.RECORDS, DropReason.BAD_METADATA)
        return []
    if links is not None and not isinstance(links, list):
        funnel.drop(Stage.RECORDS, DropReason.BAD_METADATA)
        return []
    images = [link for link in links or [] if not isinstance(link, dict) or link.get("path") == _IMAGE]
    if not images:
        funnel.drop(Stage.RECORDS, DropReason.NO_IMAGE)
    rows = []
    for image in images:
        funnel.enter(Stage.LINKS)
        row = _row(image, page, limits, funnel)
        if isinstance(row, DropReason):
            funnel.drop(Stage.LINKS, row)
        else:
            rows.append(row)
    return rows


class _ShapeError(Exception):
    """Something stands where an object is expected."""


def _dig(content: Any, *keys: str) -> Any:  # noqa: ANN401 - any JSON
    """What stands under `keys`; None when something on the way is missing."""
    for key in keys:
        if content is None:
            return None
        if not isinstance(content, dict):
            raise _ShapeError(key)
        content = content.get(key)
    return content


def _page(envelope: Any, html: Any, limits: LinkLimits) -> _Page:  # noqa: ANN401 - any JSON
    """Address and base of the page; empty where they are not told, or are no addresses."""
    url = _address(_dig(envelope, *_PAGE_URL), "", limits)
    return _Page(url, _address(_dig(html, "Head", "Base"), url, limits) or url)


def _address(link: Any, base: str, limits: LinkLimits) -> str:  # noqa: ANN401 - any JSON
    url = resolve_url(link, base, max_chars=limits.max_url_chars) if isinstance(link, str) else ""
    return "" if isinstance(url, DropReason) else url


def _row(image: Any, page: _Page, limits: LinkLimits, funnel: Funnel) -> dict[str, Any] | DropReason:  # noqa: ANN401
    if not isinstance(image, dict) or not isinstance(image.get("url", ""), str):
        return DropReason.LINK_BAD_SHAPE
    captions = [
        caption
        for kind in CAPTION_KINDS
        if kind in image
        and (caption := sift_caption(kind, image[kind], max_chars=limits.max_caption_chars, funnel=funnel)) is not None
    ]
    if not captions:
        return DropReason.NO_CAPTION
    url = resolve_url(image.get("url", ""), page.base, max_chars=limits.max_url_chars)
    if isinstance(url, DropReason):
        return url
    return {"pair_id": pair_id(url, ""), "url": url, "page": page.url, "captions": combine_captions(captions)}
