"""Which identifier a recipe names: opened on the nodes that annotate, and known by its version everywhere else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from metaclip_core.fasttext_file import ModelFileError
from metaclip_core.identify import Identifier, LanguageIdentifier, NoIdentifier
from metaclip_core.identify_cld2 import Cld2Identifier
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.curation import IdentifierName
from pipelines.errors import UserError


def open_identifier(config: RunConfig) -> Identifier:
    """The recipe's identifier, with its model in memory.

    Raises:
        UserError: its file is missing or no fastText model, or its package is not installed.
    """
    return _open(config.curation.identifier, _model_uri(config))


def identifier_version(config: RunConfig) -> str:
    """What the annotations' version says of the identifier: of a model file the digest of its content.

    Raises:
        UserError: as `open_identifier`.
    """
    return _known(config).version


def unreachable(config: RunConfig, languages: Iterable[str]) -> list[str]:
    """Those of `languages` that the identifier never names, in order.

    Raises:
        UserError: as `open_identifier`.
    """
    return sorted(set(languages) - _known(config).reachable)


@dataclass(frozen=True)
class _Known:
    """What is known of an identifier without holding it."""

    version: str
    reachable: frozenset[str]


def _known(config: RunConfig) -> _Known:
    uri = _model_uri(config)
    return _open_once(config.curation.identifier, uri, storage.stamp(uri) if uri else None)


@lru_cache(maxsize=4)
def _open_once(name: IdentifierName, uri: str, _: storage.FileStamp | None) -> _Known:
    """Opens each model once a process, and again when its file has changed."""
    identifier = _open(name, uri)
    return _Known(identifier.version, identifier.reachable)


def _open(name: IdentifierName, uri: str) -> Identifier:
    try:
        match name:
            case IdentifierName.LID176:
                return LanguageIdentifier()
            case IdentifierName.CLD2:
                return Cld2Identifier()
            case IdentifierName.NONE:
                return NoIdentifier()
            case IdentifierName.FASTTEXT:
                with storage.local_file(uri) as path:
                    return LanguageIdentifier(path)
    except ModelFileError as error:
        raise UserError(f"curation.identifier_uri: {error}") from error
    except ModuleNotFoundError as error:
        raise UserError(str(error)) from error
    except OSError as error:
        raise UserError(f"curation.identifier_uri: cannot read {uri}: {storage.first_line(error)}") from error


def _model_uri(config: RunConfig) -> str:
    """Of the model file, absolute; empty for an identifier that has none."""
    uri = config.curation.identifier_uri
    return storage.absolute(uri, base=config.root) if uri else ""
