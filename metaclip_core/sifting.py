"""Which raw captions are captions: one rule for every source."""

from __future__ import annotations

import re
from typing import Any

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage

_BROKEN = re.compile("[\ufffd\ud800-\udfff]")


def sift_caption(kind: Any, text: Any, *, max_chars: int, funnel: Funnel) -> dict[str, str] | None:  # noqa: ANN401 - any JSON
    """A value of CAPTION, or None when it is dropped; both are counted in `funnel`."""
    funnel.enter(Stage.CAPTIONS)
    reason = _fault(kind, text, max_chars)
    if reason is not None:
        funnel.drop(Stage.CAPTIONS, reason)
        return None
    return {"kind": kind, "text": text}


def is_broken(text: str) -> bool:
    """Whether bytes were no UTF-8 (they decode to U+FFFD), or lone surrogates were written as escapes."""
    return _BROKEN.search(text) is not None


def _fault(kind: Any, text: Any, max_chars: int) -> DropReason | None:  # noqa: ANN401 - any JSON
    if not (isinstance(kind, str) and isinstance(text, str)):
        return DropReason.CAPTION_BAD_SHAPE
    if not text.strip():
        return DropReason.CAPTION_EMPTY
    if len(text) > max_chars:
        return DropReason.CAPTION_OVER_LIMIT
    if is_broken(text) or is_broken(kind):
        return DropReason.CAPTION_BROKEN_TEXT
    return None
