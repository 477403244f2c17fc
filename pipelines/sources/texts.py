"""Which texts of a pool become captions: the same for every layout."""

from __future__ import annotations

from typing import Any

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage


def usable_caption(kind: Any, text: Any, *, max_chars: int, funnel: Funnel) -> dict[str, str] | None:  # noqa: ANN401
    """A caption, or None where a reason took it; counted in `funnel`. Kind and text are whatever the pool holds."""
    funnel.enter(Stage.CAPTIONS)
    reason = None
    if not (isinstance(text, str) and isinstance(kind, str)):
        reason = DropReason.CAPTION_BAD_SHAPE
    elif not text.strip():
        reason = DropReason.CAPTION_EMPTY
    elif len(text) > max_chars:
        reason = DropReason.CAPTION_OVER_LIMIT
    elif _is_broken(text) or _is_broken(kind):
        reason = DropReason.CAPTION_BROKEN_TEXT
    if reason is not None:
        funnel.drop(Stage.CAPTIONS, reason)
        return None
    return {"kind": kind, "text": text}


def _is_broken(text: str) -> bool:
    """Whether bytes were no UTF-8 (they decode to U+FFFD), or lone surrogates were written as escapes."""
    return "\ufffd" in text or any("\ud800" <= character <= "\udfff" for character in text)
