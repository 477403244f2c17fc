"""Embeddings of class names, kept under the root by content: the same model asked the same question answers at once.

One file for each language of a set, named by a hash of the model's digest and of all its prompts. It may be removed at
any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import torch

from pipelines import storage
from pipelines.embed import embedding_column, matrix
from pipelines.tasks import Prompts

REVISION = 1
_FILES_AT_ONCE = 8


class ClassNames:
    """The classes of one model."""

    def __init__(self, root: str, *, model_digest: str) -> None:
        self._layout = storage.Layout(root)
        self._model_digest = model_digest

    def read(self, prompts: Prompts) -> dict[str, torch.Tensor]:
        """[classes, d] of each language that is there."""
        with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
            found = threads.map(_read, [self._uri(of_classes) for of_classes in prompts.values()])
            return {language: vectors for language, vectors in zip(prompts, found, strict=True) if vectors is not None}

    def write(self, prompts: Prompts, vectors: Mapping[str, torch.Tensor]) -> None:
        """Keep [classes, d] of each language."""
        with ThreadPoolExecutor(_FILES_AT_ONCE) as threads:
            list(threads.map(_write, [self._uri(of_classes) for of_classes in prompts.values()], vectors.values()))

    def _uri(self, of_classes: Sequence[Sequence[str]]) -> str:
        version = storage.version_of(
            "class-names", REVISION, model=self._model_digest, prompts=[list(of_class) for of_class in of_classes]
        )
        return self._layout.class_names(version)


def _read(uri: str) -> torch.Tensor | None:
    try:
        return matrix(storage.read_table(uri))
    except FileNotFoundError:
        return None


def _write(uri: str, vectors: torch.Tensor) -> None:
    storage.write_table(uri, pa.table({"embedding": embedding_column(vectors.numpy())}))
