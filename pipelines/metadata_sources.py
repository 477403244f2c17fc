"""Finding what metadata are made of: files to count, WordNets, and what is not there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from metaclip_core.funnel import Funnel
from metaclip_core.languages import Namespace, metadata_language
from metaclip_core.metadata import dumpfiles, pageviews
from metaclip_core.metadata.dumpfiles import InputFile, find_inputs
from metaclip_core.metadata.dumps import Slice, plan_slices
from metaclip_core.metadata.provenance import SourceFile
from metaclip_core.metadata.wordnet import read_wordnets
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.config.metadata import BuildConfig, MetadataSource
from pipelines.errors import UserError
from pipelines.metadata_counts import CountItem, CountKind, count_item

REVISION = 1  # of reading WordNets
SECTION_OF = {CountKind.NGRAMS: "wikipedia", CountKind.VIEWS: "titles"}

_WORDNET = "wordnet"
_SOURCES = {  # by section of `metadata.build`
    _WORDNET: (MetadataSource.WORDNET,),
    "wikipedia": (MetadataSource.UNIGRAM, MetadataSource.BIGRAM),
    "titles": (MetadataSource.TITLE,),
}
_EXPECTED = {
    _WORDNET: "data.noun … of Princeton's dict, wn-data-<lang>.tab, or WN-LMF .xml",
    "wikipedia": "<wiki>-<date>-pages-articles-multistream.xml.bz2, or <wiki>.txt",
    "titles": "pageviews-YYYYMMDD-HH0000.gz",
}
_VIEWS_PREFIX, _VIEWS_SUFFIX = "pageviews-", ".gz"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """All that entries are made of."""

    items: list[CountItem]
    wordnets: dict[str, str]  # language → URI of its table, OFFERED
    wordnet_files: list[SourceFile]
    missing: list[str]  # in words
    funnel: Funnel  # of files and WordNets


def find_sources(config: RunConfig) -> Sources:
    """List the files of all sources in use, read the WordNets, and say what is not there.

    Raises:
        UserError: a folder is not there, or has nothing of what the recipe requires; or a Wikipedia is there twice.
    """
    build, funnel = config.metadata.build, Funnel()
    folders = {
        section: _folder(section, config) for section, sources in _SOURCES.items() if set(sources) & set(build.order)
    }
    items = [
        item
        for kind, section in SECTION_OF.items()
        if folders.get(section)
        for item in plan(config, folders[section], kind, funnel=funnel)
    ]
    wordnets, wordnet_files = _read_wordnets(config, folders.get(_WORDNET, ""), funnel)
    found = {SECTION_OF[item.kind] for item in items} | ({_WORDNET} if wordnets else set())
    return Sources(
        items=items,
        wordnets=wordnets,
        wordnet_files=wordnet_files,
        missing=[_absent(section, folder, build) for section, folder in folders.items() if section not in found],
        funnel=funnel,
    )


def is_wanted(build: BuildConfig, language: str) -> bool:
    """Whether the recipe asks for a language."""
    return build.languages is None or language in build.languages


def plan(config: RunConfig, folder_uri: str, kind: CountKind, *, funnel: Funnel) -> list[CountItem]:
    """What is to count in a folder, in order of its files' names. The funnel gets the files that are not read.

    Raises:
        UserError: no such folder, or a Wikipedia is there twice.
    """
    if not storage.exists(folder_uri):
        raise UserError(f"no such folder: {folder_uri}")
    names = storage.list_names(folder_uri)
    return list(
        _plan_views(config, folder_uri, names, funnel)
        if kind is CountKind.VIEWS
        else _plan_ngrams(config, folder_uri, names, funnel)
    )


def _plan_views(config: RunConfig, folder_uri: str, names: set[str], funnel: Funnel) -> Iterator[CountItem]:
    hours = sorted(name for name in names if name.startswith(_VIEWS_PREFIX) and name.endswith(_VIEWS_SUFFIX))
    num_unknown = len(names) - len(hours)
    funnel.enter(pageviews.FILES_STAGE, num_unknown)  # hours enter it when they are counted
    funnel.drop(pageviews.FILES_STAGE, pageviews.FileDrop.UNKNOWN, num_unknown)
    for name in hours:
        uri = storage.join(folder_uri, name)
        stamp = storage.stamp(uri)
        yield count_item(config, CountKind.VIEWS, uri, stamp, Slice(0, stamp.size), language="")


def _plan_ngrams(config: RunConfig, folder_uri: str, names: set[str], funnel: Funnel) -> Iterator[CountItem]:
    try:
        inputs = find_inputs(names, funnel=funnel)
    except ValueError as error:
        raise UserError(f"{folder_uri}: {error}") from error
    for file in inputs:
        language = metadata_language(file.wiki, namespace=Namespace.WIKIPEDIA)
        if not is_wanted(config.metadata.build, language):
            funnel.drop(dumpfiles.FILES_STAGE, dumpfiles.FileDrop.LANGUAGE_UNWANTED, 1 + (file.index is not None))
            continue
        uri = storage.join(folder_uri, file.name)
        stamp = storage.stamp(uri)
        for part in _slices(folder_uri, file, stamp.size, config.metadata.build, funnel):
            yield count_item(config, CountKind.NGRAMS, uri, stamp, part, language=language)


def _slices(folder_uri: str, file: InputFile, num_bytes: int, build: BuildConfig, funnel: Funnel) -> Iterator[Slice]:
    if file.index is None:
        yield Slice(0, num_bytes)
        return
    index_uri = storage.join(folder_uri, file.index)
    filesystem, path = storage.resolve(index_uri)
    with filesystem.open_input_file(path) as index:
        yield from plan_slices(
            index,
            index_bytes=storage.stamp(index_uri).size,
            dump_bytes=num_bytes,
            slice_bytes=build.wikipedia.slice_mb << 20,
            funnel=funnel,
        )


def _read_wordnets(config: RunConfig, folder: str, funnel: Funnel) -> tuple[dict[str, str], list[SourceFile]]:
    """Read all WordNets, which are small, and leave a table for each language, named by the files it is made of."""
    if not folder:
        return {}, []
    words = config.metadata.build.wordnet.words
    try:
        found = read_wordnets(*storage.resolve(folder), words=words, funnel=funnel)
    except FileNotFoundError as error:
        raise UserError(f"no such folder of WordNets: {folder}") from error
    uris = {}
    for language, table in found.tables.items():
        files = sorted(
            (file.name.rpartition("/")[2], file.digest) for file in found.files if language in file.languages
        )
        version = storage.version_of("metadata_wordnet", REVISION, language=language, files=files, words=words)
        uris[language] = storage.join(storage.Layout(config.root).metadata_counts(version), "wordnet.parquet")
        if not storage.exists(uris[language]):
            storage.write_table(uris[language], table)
    return uris, found.files


def _folder(section: str, config: RunConfig) -> str:
    """The folder of a section of `metadata.build`; "" where the recipe has none."""
    uri = getattr(config.metadata.build, section).uri
    return storage.absolute(uri, base=config.root) if uri else ""


def _absent(section: str, folder: str, build: BuildConfig) -> str:
    """A line that says what is missing.

    Raises:
        UserError: the recipe requires it.
    """
    expected = _EXPECTED[section]
    where = f"{folder} has no {expected}" if folder else f"metadata.build.{section}.uri is not set ({expected})"
    if needed := [source for source in build.required if source in _SOURCES[section]]:
        raise UserError(f"the recipe requires source {needed[0]}, and {where}")
    return f"{section}: {where}"
