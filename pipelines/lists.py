"""The recipe's block lists and opt-out lists: read from storage, and known by the digests of their content."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from functools import lru_cache

from metaclip_core.blocklists import BlockList, BlockListError, parse_lists
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError

_log = logging.getLogger(__name__)


def open_lists(uris: Sequence[str], config: RunConfig) -> BlockList:
    """What the lists at some URIs, relative to the root, name together.

    Raises:
        UserError: one is missing, can't be read, is no text, or names nothing.
    """
    try:
        return parse_lists({uri: _read(storage.absolute(uri, base=config.root)) for uri in uris})
    except BlockListError as error:
        raise UserError(f"list {error}") from error


def list_digests(uris: Sequence[str], config: RunConfig) -> list[str]:
    """What a version says of lists: the digests of their bytes, in order of their own.

    Raises:
        UserError: one is missing or can't be read.
    """
    places = [storage.absolute(uri, base=config.root) for uri in uris]
    return sorted({_digest_once(place, storage.stamp(place)) for place in places})


def warn_of_broken_lines(config: RunConfig) -> None:
    """Say which lists have lines that name nothing. Raises UserError as `open_lists`."""
    for uris in (config.curation.block_lists, config.curation.opt_out_lists):
        for uri, (num_broken, first) in open_lists(uris, config).broken.items():
            _log.warning(
                "list %s: lines that name no domain, address, pair id or image hash, and are passed over: %d, as %r",
                uri,
                num_broken,
                first,
            )


@lru_cache(maxsize=64)
def _digest_once(uri: str, _: storage.FileStamp) -> str:
    """Reads each list once a process, and again when its file has changed."""
    return hashlib.sha256(_read(uri)).hexdigest()


def _read(uri: str) -> bytes:
    try:
        return storage.read_bytes(uri)
    except OSError as error:
        raise UserError(f"list {uri} can't be read: {storage.first_line(error)}") from error
