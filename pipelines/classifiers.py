"""Classifiers of pairs: programs of others, installed beside this one. A recipe names them and never brings code.

A package announces one as an entry point of the group `metaclip.classifiers`:

    [project.entry-points."metaclip.classifiers"]
    nsfw = "my_package:Nsfw"

The object is a factory, most simply a class, with two attributes: `version`, a string that changes whenever scores may,
and `reads_images`. Called with the recipe's options it gives a classifier; called with a table of `captions`
(list<string>), `url` and, if it reads images, `image` (their bytes), a classifier gives a score in [0, 1] for each row,
and None or NaN where it can't tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from metaclip_core.scores import ScoreError
from pipelines.config.curation import ClassifierConfig
from pipelines.errors import UserError
from pipelines.storage import first_line

GROUP = "metaclip.classifiers"

Classifier = Callable[[pa.Table], Sequence[float | None] | npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class Installed:
    """A classifier that is installed here, before it is made."""

    name: str
    package: str
    factory: Callable[..., Classifier]
    version: str
    reads_images: bool

    def make(self, options: dict[str, Any]) -> Classifier:
        """The classifier itself.

        Raises:
            UserError: its program fails.
        """
        with blaming(f"classifier {self.name!r} can't be made with the options {options}"):
            return self.factory(**options)


def find_classifier(config: ClassifierConfig) -> Installed:
    """The installed classifier that a recipe names.

    Raises:
        UserError: there is none of this name, or several; or it can't be imported, or does not say what it must.
    """
    name = config.name
    found = list(entry_points(group=GROUP, name=name))
    if len(found) != 1:
        raise UserError(f"curation.classifiers: {_what_there_is(name, found)}")
    package = _package(found[0])
    with blaming(f"classifier {name!r} of package {package} can't be imported"):
        factory = found[0].load()
    version, reads_images = getattr(factory, "version", None), getattr(factory, "reads_images", None)
    if not (callable(factory) and isinstance(version, str) and version and isinstance(reads_images, bool)):
        raise UserError(
            f"classifier {name!r} of package {package} must be callable, with a version, which is text, "
            f"and reads_images, which is true or false"
        )
    return Installed(name, package, factory, version, reads_images)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Whatever a program of others raises becomes a UserError that begins with `what`."""
    try:
        yield
    except ScoreError as error:
        raise UserError(f"{what}: it gave {first_line(error)}") from error
    except Exception as error:
        raise UserError(f"{what}: {type(error).__name__}: {first_line(error)}") from error


def _what_there_is(name: str, found: list[EntryPoint]) -> str:
    if found:
        return f"{name!r} is installed by several packages: {', '.join(sorted(map(_package, found)))}"
    names = ", ".join(sorted({entry_point.name for entry_point in entry_points(group=GROUP)}))
    return f"no classifier {name!r} is installed here, only {names}" if names else "no classifier is installed here"


def _package(entry_point: EntryPoint) -> str:
    return entry_point.dist.name if entry_point.dist else entry_point.module
