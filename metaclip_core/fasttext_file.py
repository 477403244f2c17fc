"""What a fastText model file says of itself, read before fastText's loader sees it.

The loader believes every size in the file: one that is cut off or made up makes it allocate, divide by zero or read
beyond its arrays, and takes the process with it. Here the layout (version 12, little-endian, as `fasttext` writes it)
is followed to the file's last byte, and every index and every weight is looked at.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from struct import Struct

import numpy as np

_MAGIC, _VERSION = 793712314, 12
_SUPERVISED = 3
_LOSSES = range(1, 5)  # hierarchical softmax, negative sampling, softmax, one against all
_CENTROIDS = 256
_MAX_COUNT = 10**15  # fastText's Huffman tree takes larger ones for infinite
_MAX_NGRAM = 1_000
_MAX_WEIGHT = 1e6  # real ones are below 100; with very large ones sums overflow, and the loader raises on a text
_CHUNK_BYTES = 1 << 24

_HEADER = Struct("<2i")
_ARGUMENTS = Struct("<12id")
_DICTIONARY = Struct("<3i2q")  # entries, words, labels, tokens, n-grams that pruning left or -1
_ENTRY = Struct("<qb")  # count and type, after the word and its NUL
_FLAG = Struct("<b")
_MATRIX = Struct("<2q")  # rows, columns
_CODES = Struct("<b2qi")  # whether norms stand apart, rows, columns, bytes of codes
_QUANTISER = Struct("<4i")  # dimension, parts, dimension of a part, of the last part


class ModelFileError(ValueError):
    """A model file that cannot be used: one line that names it."""


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    dim: int
    bucket: int  # n-grams are hashed into so many


class _Reader:
    """Takes one field after another. Raises ValueError where a field would end beyond the file."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content = content
        self._at = 0

    def fields(self, layout: Struct) -> tuple[int, ...]:
        start = self._advance(layout.size)
        return layout.unpack(self._content[start : self._at])

    def flag(self) -> bool:
        [flag] = self.fields(_FLAG)
        _expect(flag in {0, 1}, "a flag is neither 0 nor 1")
        return bool(flag)

    def word(self) -> bytes:
        end = self._content.find(b"\0", self._at)
        _expect(end >= 0, "it is cut off within a word")
        start, self._at = self._at, end + 1
        return self._content[start:end]

    def skip(self, size: int) -> None:
        self._advance(size)

    def int32_pairs(self, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.int32]]:
        start = self._advance(8 * count)
        return np.frombuffer(self._content[start : self._at], dtype="<i4").reshape(count, 2)

    def floats(self, count: int) -> None:
        start = self._advance(4 * count)
        for at in range(start, self._at, _CHUNK_BYTES):
            weights = np.frombuffer(self._content[at : min(at + _CHUNK_BYTES, self._at)], dtype="<f4")
            _expect(
                bool(np.abs([weights.min(), weights.max()]).max() <= _MAX_WEIGHT), "a weight is no number, or no weight"
            )

    def end(self) -> None:
        _expect(self._at == len(self._content), "something follows its end")

    def _advance(self, size: int) -> int:
        _expect(0 <= size <= len(self._content) - self._at, "it is cut off, or a size in it is wrong")
        start, self._at = self._at, self._at + size
        return start


def read_labels(path: Path) -> list[str]:
    """The labels of a fastText classifier, as it writes them (`__label__en`), in its order.

    Raises:
        ModelFileError: the file is no whole fastText classifier.
        FileNotFoundError: there is no such file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _labels(_Reader(content))
    except ValueError as error:  # `_expect`'s; of a label that is no UTF-8; mmap's, of an empty file
        raise ModelFileError(f"{path} is no whole fastText classifier: {error}") from error


def _labels(reader: _Reader) -> list[str]:
    arguments = _arguments(reader)
    num_entries, num_words, num_labels, _, num_pruned = reader.fields(_DICTIONARY)
    _expect(
        num_words >= 0 and num_labels > 0 and num_entries == num_words + num_labels, "its dictionary does not add up"
    )
    _expect(num_pruned >= -1, f"pruned to {num_pruned} n-grams")
    labels = _entries(reader, num_words, num_labels)
    ngrams = reader.int32_pairs(max(num_pruned, 0))
    _expect(bool(((ngrams[:, 1] >= 0) & (ngrams[:, 1] < num_pruned)).all()), "it has n-grams without a row")
    quantised = reader.flag()
    _expect(quantised or num_pruned < 0, "it is pruned and not quantised")
    rows = num_words + (arguments.bucket if num_pruned < 0 else num_pruned)
    _matrix(reader, min_rows=rows, columns=arguments.dim, quantised=quantised)
    output_quantised = reader.flag()
    _matrix(reader, min_rows=num_labels, columns=arguments.dim, quantised=quantised and output_quantised)
    reader.end()
    return labels


def _arguments(reader: _Reader) -> _Arguments:
    magic, version = reader.fields(_HEADER)
    _expect(magic == _MAGIC, "it does not begin as one")
    _expect(version == _VERSION, f"version {version}, where {_VERSION} is read")
    dim, _, _, _, _, word_ngrams, loss, model, bucket, min_chars, max_chars, *_ = reader.fields(_ARGUMENTS)
    _expect(model == _SUPERVISED, "it holds word vectors, and no labels")
    _expect(loss in _LOSSES, f"loss {loss}")
    _expect(dim > 0, f"dimension {dim}")
    _expect(0 <= min_chars <= _MAX_NGRAM and 0 <= max_chars <= _MAX_NGRAM, f"n-grams of {min_chars} to {max_chars}")
    _expect(bucket > 0 or (bucket == 0 and max_chars == 0 and word_ngrams <= 1), f"{bucket} buckets for n-grams")
    return _Arguments(dim=dim, bucket=bucket)


def _entries(reader: _Reader, num_words: int, num_labels: int) -> list[str]:
    """The labels: the entries after the words."""
    labels = []
    for index in range(num_words + num_labels):
        entry = reader.word()
        count, kind = reader.fields(_ENTRY)
        is_label = index >= num_words
        _expect(kind == is_label and 0 <= count <= _MAX_COUNT, f"entry {index} of its dictionary is broken")
        if is_label:
            labels.append(entry.decode())
    return labels


def _matrix(reader: _Reader, *, min_rows: int, columns: int, quantised: bool) -> None:
    if quantised:
        norms_apart, rows, found, num_codes = reader.fields(_CODES)
    else:
        rows, found = reader.fields(_MATRIX)
    _expect(rows >= min_rows and found == columns, f"a matrix of {rows} × {found}, for {min_rows} × {columns}")
    if not quantised:
        reader.floats(rows * columns)
        return
    reader.skip(num_codes)
    parts = _quantiser(reader, columns)
    _expect(num_codes == rows * parts and norms_apart in {0, 1}, "its codes do not add up")
    if norms_apart:
        reader.skip(rows)
        _quantiser(reader, 1)


def _quantiser(reader: _Reader, columns: int) -> int:
    """The number of parts that a row is cut into."""
    dim, parts, part, last = reader.fields(_QUANTISER)
    fits = dim == columns and part > 0 and 0 < last <= part and dim == (parts - 1) * part + last
    _expect(fits, f"a row of {columns} in {parts} parts of {part} and {last}")
    reader.floats(dim * _CENTROIDS)
    return parts


def _expect(holds: bool, what_else: str) -> None:  # noqa: FBT001 - it is the assertion
    if not holds:
        raise ValueError(what_else)
