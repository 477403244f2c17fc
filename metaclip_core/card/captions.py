"""What captions are like, from the sample of annotations: kinds, lengths and the identifier's confidence.

Every caption counts 1 / inclusion times, so that sums estimate those of the pool (Horvitz and Thompson 1952). Memory
follows the languages and the kinds, not the sample.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MAX_LENGTH = 2_047  # characters; longer captions count as such
NUM_SCORE_BINS = 20
_QUANTILES = (0.05, 0.5, 0.95)
_KIND_CHARS = 40  # a kind is whatever a pool says
_LENGTH_EDGES = tuple(2**power for power in range(MAX_LENGTH.bit_length()))


@dataclass(frozen=True)
class Histogram:
    """Shares by bin: bin i holds values from edges[i] up to, not including, edges[i + 1]; the last bin has no end."""

    edges: list[float]
    shares: list[float]


@dataclass(frozen=True)
class CaptionFacts:
    """Captions of one language, or of all; estimated but for `sampled`."""

    sampled: int
    captions: float
    matched_share: float
    lengths: list[int]  # in characters: 5 %, 50 % and 95 % of the captions are at most so long
    mean_score: float  # of the identifier
    scores: Histogram


@dataclass(frozen=True)
class KindFacts:
    """Captions of one kind, as the pool names it; estimated but for `sampled`."""

    kind: str
    sampled: int
    share: float
    matched_share: float
    mean_length: float


@dataclass
class _Sums:
    """Sums over captions, all but `sampled` weighted."""

    sampled: int = 0
    matched: float = 0.0
    score: float = 0.0
    lengths: Floats = field(default_factory=lambda: np.zeros(MAX_LENGTH + 1))
    scores: Floats = field(default_factory=lambda: np.zeros(NUM_SCORE_BINS))

    def add(self, other: _Sums) -> None:
        self.sampled += other.sampled
        self.matched += other.matched
        self.score += other.score
        self.lengths += other.lengths
        self.scores += other.scores

    def facts(self) -> CaptionFacts:
        captions = float(self.lengths.sum())
        edges = np.arange(NUM_SCORE_BINS) / NUM_SCORE_BINS
        return CaptionFacts(
            sampled=self.sampled,
            captions=captions,
            matched_share=_share(self.matched, captions),
            lengths=[_quantile(self.lengths, share) for share in _QUANTILES],
            mean_score=_share(self.score, captions),
            scores=Histogram(edges.tolist(), _shares(self.scores)),
        )


@dataclass
class _KindSums:
    sampled: int = 0
    captions: float = 0.0
    matched: float = 0.0
    length: float = 0.0


class CaptionSums:
    """Sums over the captions of a sample, table by table."""

    def __init__(self) -> None:
        self._languages: dict[str, _Sums] = {}
        self._kinds: dict[str, _KindSums] = {}

    def add(self, sampled: pa.Table) -> None:
        """Add a table with the columns `captions` and `inclusion` of SAMPLED."""
        captions = sampled["captions"].combine_chunks()
        flat = pc.list_flatten(captions)
        weight = (1 / sampled["inclusion"].to_numpy())[pc.list_parent_indices(captions).to_numpy()]
        length = pc.utf8_length(flat.field("text")).to_numpy(zero_copy_only=False).astype(np.int64)
        matched = weight * pc.greater(pc.list_value_length(flat.field("entry_ids")), 0).to_numpy(zero_copy_only=False)
        score = flat.field("language_score").to_numpy(zero_copy_only=False).astype(np.float64)
        self._add_languages(flat.field("language"), weight=weight, matched=matched, length=length, score=score)
        kinds = pc.utf8_slice_codeunits(flat.field("kind"), 0, _KIND_CHARS)
        self._add_kinds(kinds, weight=weight, matched=matched, length=length)

    def _add_languages(
        self, languages: pa.Array, *, weight: Floats, matched: Floats, length: Ints, score: Floats
    ) -> None:
        names, code = _encoded(languages)
        bins = np.clip(score * NUM_SCORE_BINS, 0, NUM_SCORE_BINS - 1).astype(np.int64)
        lengths = _table(code, np.minimum(length, MAX_LENGTH), weight, shape=(len(names), MAX_LENGTH + 1))
        scores = _table(code, bins, weight, shape=(len(names), NUM_SCORE_BINS))
        columns = (
            np.bincount(code, minlength=len(names)).tolist(),
            np.bincount(code, weights=matched, minlength=len(names)).tolist(),
            np.bincount(code, weights=weight * score, minlength=len(names)).tolist(),
        )
        for name, *sums in zip(names, *columns, lengths, scores, strict=True):
            self._languages.setdefault(name, _Sums()).add(_Sums(*sums))

    def _add_kinds(self, kinds: pa.Array, *, weight: Floats, matched: Floats, length: Ints) -> None:
        names, code = _encoded(kinds)
        columns = [
            np.bincount(code, weights=weights, minlength=len(names)).tolist()
            for weights in (None, weight, matched, weight * length)
        ]
        for name, sampled, captions, of_matched, of_length in zip(names, *columns, strict=True):
            sums = self._kinds.setdefault(name, _KindSums())
            sums.sampled += sampled
            sums.captions += captions
            sums.matched += of_matched
            sums.length += of_length

    def by_language(self) -> dict[str, CaptionFacts]:
        """The facts of each language that the sample holds."""
        return {language: sums.facts() for language, sums in sorted(self._languages.items())}

    def _total(self) -> _Sums:
        total = _Sums()
        for _, sums in sorted(self._languages.items()):
            total.add(sums)
        return total

    def of_all(self) -> CaptionFacts:
        """The facts of all captions."""
        return self._total().facts()

    def lengths(self) -> Histogram:
        """Lengths of all captions in characters; a bin is as wide as all before it."""
        return Histogram(list(map(float, _LENGTH_EDGES)), _shares(_by_power(self._total().lengths)))

    def by_kind(self, *, limit: int) -> list[KindFacts]:
        """The kinds with most captions, most first; at most `limit`."""
        total = sum(sums.captions for sums in self._kinds.values())
        largest = sorted(self._kinds.items(), key=lambda item: (-item[1].captions, item[0]))[:limit]
        return [
            KindFacts(
                kind=kind,
                sampled=sums.sampled,
                share=_share(sums.captions, total),
                matched_share=_share(sums.matched, sums.captions),
                mean_length=_share(sums.length, sums.captions),
            )
            for kind, sums in largest
        ]

    @property
    def num_kinds(self) -> int:
        """Different kinds in the sample."""
        return len(self._kinds)


def _encoded(values: pa.Array) -> tuple[list[str], Ints]:
    """The distinct values, and for each value its place among them."""
    encoded = values.dictionary_encode()
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)


def _table(rows: Ints, columns: Ints, weight: Floats, *, shape: tuple[int, int]) -> Floats:
    """Weights summed up by row and column."""
    sums = np.bincount(rows * shape[1] + columns, weights=weight, minlength=shape[0] * shape[1])
    return sums.astype(np.float64, copy=False).reshape(shape)


def _by_power(lengths: Floats) -> Floats:
    """Sums over the bins that `_LENGTH_EDGES` start; a caption is never empty."""
    return np.add.reduceat(lengths, list(_LENGTH_EDGES))


def _quantile(histogram: Floats, share: float) -> int:
    """The least value up to which `share` of the weight lies; 0 where there is none."""
    cumulative = np.cumsum(histogram)
    return int(np.searchsorted(cumulative, share * cumulative[-1] * (1 - 1e-12))) if cumulative[-1] else 0


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _shares(parts: Floats) -> list[float]:
    total = parts.sum()
    return (parts / total if total else parts).tolist()  # type: ignore[no-any-return] # NumPy types lists so
