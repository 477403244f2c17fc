"""CLD2 as an identifier: small, fast, of 2014; the optional package pycld2 brings it."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from typing import Any

from metaclip_core.identify import MAX_CHARS, Identified, decide
from metaclip_core.languages import Namespace, metadata_language, reachable

# CLD2 refuses a text with a code point that nobody may interchange: controls, noncharacters, surrogates.
_REFUSED = re.compile(
    r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(chr(plane + low) for plane in range(0, 0x110000, 0x10000) for low in (0xFFFE, 0xFFFF))
    + "]"
)
_SCORE_OF_A_SURE_TEXT = 1000.0  # CLD2's points for a KiB of text, as real text in its language has


class Cld2Identifier:
    """CLD2, which holds its tables itself. A text is read up to `max_chars`.

    CLD2 says what share of the text its first language takes, and how many points a KiB of it scored. The score here is
    share × points / 1,000, of which points over 1,000 add nothing. On short captions it comes close to the share of
    right answers (see tests/benchmarks/results), which CLD2's own flag `isReliable` does not: with `bestEffort` it is
    nearly always set, and without it 4 captions in 10 get no answer.

    Raises:
        ModuleNotFoundError: pycld2 is not installed.
    """

    def __init__(self, *, max_chars: int = MAX_CHARS) -> None:
        if max_chars < 1:
            raise ValueError(f"max_chars must be at least 1, got {max_chars}")
        self._max_chars = max_chars
        self._cld2 = _import_cld2()

    @property
    def version(self) -> str:
        """CLD2's, whose tables are compiled in."""
        return f"CLD2 {self._cld2.VERSION}"

    @property
    def reachable(self) -> frozenset[str]:
        """The metadata languages that CLD2 has a model or a script for."""
        return reachable(Namespace.CLD2)

    def identify(self, texts: Sequence[str], *, min_score: float) -> Identified:
        """The metadata language of each text, by CLD2's first label; `OTHER` with score 0 where it has none."""
        languages, scores = zip(*map(self._language, texts), strict=True) if texts else ((), ())
        return decide(languages, scores, min_score=min_score)

    def _language(self, text: str) -> tuple[str, float]:
        readable = _REFUSED.sub(" ", text[: self._max_chars])
        _, _, [(_, label, percent, points), *_] = self._cld2.detect(readable, isPlainText=True, bestEffort=True)
        language = metadata_language(label, namespace=Namespace.CLD2)
        return language, percent / 100 * min(points / _SCORE_OF_A_SURE_TEXT, 1.0)


def _import_cld2() -> Any:  # noqa: ANN401 - a module without types
    try:
        return importlib.import_module("pycld2")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "CLD2 is not installed: pip install '.[cld2]' in the checkout", name=error.name
        ) from error
