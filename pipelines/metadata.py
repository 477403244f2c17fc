"""Metadata versions: entry lists under a name, stored by what they hold."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from metaclip_core.languages import OTHER
from metaclip_core.metadata.browse import FoundEntries, find_entries
from metaclip_core.metadata.importing import read_entry_files, with_numbers
from metaclip_core.metadata.merge import merge_languages
from metaclip_core.metadata.store import read_manifest, read_table, write_metadata
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError

REVISION = 1
_MARKER = "manifest.json"


def import_metadata(source_uri: str, config: RunConfig) -> str:
    """Import a folder of entry lists, the numbers 0 to 99 added, under the recipe's metadata name.

    Returns:
        The version; the same lists give the same one.

    Raises:
        UserError: no such folder, or a file that is no entry list.
    """
    try:
        imported = read_entry_files(*storage.resolve(source_uri))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"no such folder of entry lists: {source_uri}") from error
    except (ValueError, OSError) as error:
        raise UserError(f"{source_uri} cannot be imported: {storage.first_line(error)}") from error
    tables = {language: with_numbers(table) for language, table in imported.items()}
    return publish(tables, config, provenance={"imported_from": source_uri})


def publish(tables: Mapping[str, pa.Table], config: RunConfig, *, provenance: Mapping[str, Any]) -> str:
    """Store entry lists by what they hold, and let the recipe's metadata name stand for them. Returns the version."""
    layout = storage.Layout(config.root)
    version = storage.version_of("metadata", REVISION, content=_digest(tables))
    uri = layout.metadata(version)
    if not storage.exists(storage.join(uri, _MARKER)):
        write_metadata(*storage.resolve(uri), tables, provenance=provenance)
    storage.write_json(layout.metadata_name(config.metadata.name), {"version": version})
    return version


def metadata_version(config: RunConfig) -> str:
    """The version that the recipe pins, or that its metadata name stands for now.

    Raises:
        UserError: there is none, or it lacks a language that the recipe uses.
    """
    layout = storage.Layout(config.root)
    version = config.metadata.version
    if version is None:
        try:
            version = str(storage.read_json(layout.metadata_name(config.metadata.name))["version"])
        except FileNotFoundError as error:
            raise UserError(
                f"no metadata named {config.metadata.name!r} under {config.root}: run `metaclip metadata import` first"
            ) from error
    if not storage.exists(storage.join(layout.metadata(version), _MARKER)):
        raise UserError(f"no metadata version {version} under {config.root}")
    if config.metadata.languages is None and not config.metadata.merged:
        return version
    return _part(config, version)


def _part(config: RunConfig, whole: str) -> str:
    """The version that holds what the recipe uses of another; made when first asked for. Raises UserError."""
    languages, merged = config.metadata.languages, config.metadata.merged
    version = storage.version_of("metadata part", REVISION, whole=whole, languages=languages, merged=merged)
    layout = storage.Layout(config.root)
    uri = layout.metadata(version)
    if storage.exists(storage.join(uri, _MARKER)):
        return version
    filesystem, path = storage.resolve(layout.metadata(whole))
    known = read_manifest(filesystem, path).num_entries
    if missing := sorted(set(languages or known) - known.keys()):
        raise UserError(f"metadata.languages: the metadata {whole} have no {', '.join(missing)}")
    tables = {language: read_table(filesystem, path, language) for language in sorted(set(languages or known))}
    if merged:
        tables = {OTHER: merge_languages(tables)}
    provenance = {"part_of": whole, "languages": languages, "merged": merged}
    write_metadata(*storage.resolve(uri), tables, provenance=provenance)
    return version


def show_metadata(language: str, text: str, config: RunConfig, *, limit: int) -> FoundEntries:
    """The entries of a language that hold a text.

    Raises:
        UserError: no metadata, or not in this language.
    """
    uri = storage.Layout(config.root).metadata(metadata_version(config))
    try:
        return find_entries(*storage.resolve(uri), language, text=text, limit=limit)
    except (FileNotFoundError, ValueError) as error:
        known = ", ".join(read_manifest(*storage.resolve(uri)).num_entries)
        raise UserError(f"the metadata have no language {language!r}, only {known}") from error


def _digest(tables: Mapping[str, pa.Table]) -> str:
    content = hashlib.sha256()
    for language, table in sorted(tables.items()):
        content.update(f"{language}\0{table.num_rows}\0".encode())
        for entry, source in zip(table["entry"].to_pylist(), table["source"].to_pylist(), strict=True):
            content.update(f"{entry}\0{source}\n".encode())
    return content.hexdigest()
