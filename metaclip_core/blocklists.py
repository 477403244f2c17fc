"""Block lists: whose images are left out, by domain, address, pair id or the hash of an image's bytes.

A list is text, an item a line, `#` before a comment:

    example.org                     the domain and its subdomains
    https://example.org/private/    what begins with it; http and https are one
    0f3c…                           a pair id, 24 hex digits
    sha256:9f86…    md5:098f…       the bytes of an image as the pool holds them

Lists of millions are fine: domains are looked up host by host, everything that is hex in sorted arrays.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.hosts import authorities, host_of, spell_address, spell_host
from metaclip_core.pairs import MAX_URL_CHARS, NUM_HEX_DIGITS

_GZIP = b"\x1f\x8b"
_PLAIN_DOMAIN = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.[a-z][a-z0-9-]{1,62}")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_PAIR_ID = re.compile(rf"[0-9a-f]{{{NUM_HEX_DIGITS}}}")
_MAX_BROKEN_SHOWN = 80  # characters of a line

HexDigits = npt.NDArray[np.bytes_]  # sorted


class BlockListError(ValueError):
    """What was given is no block list."""


class ImageHash(StrEnum):
    """Hashes of an image's bytes by which lists may name it."""

    SHA256 = "sha256"
    MD5 = "md5"

    def digest(self, image: bytes) -> str:
        """In hex digits."""
        return hashlib.new(self.value, image, usedforsecurity=False).hexdigest()

    @property
    def num_digits(self) -> int:
        """Hex digits of a digest."""
        return 2 * hashlib.new(self.value, usedforsecurity=False).digest_size


@dataclass
class _Items:
    """What the lines of lists say."""

    domains: set[str] = field(default_factory=set)
    prefixes: dict[str, set[str]] = field(default_factory=dict)
    pair_ids: set[bytes] = field(default_factory=set)
    image_hashes: dict[ImageHash, set[bytes]] = field(default_factory=lambda: {name: set() for name in ImageHash})

    def add(self, line: str) -> bool:
        """Whether the line says anything that can be looked up."""
        if _PLAIN_DOMAIN.fullmatch(line):
            self.domains.add(line)
            return True
        if "://" in line:
            return self._add_prefix(line)
        name, colon, digits = line.lower().partition(":")
        if not colon and _PAIR_ID.fullmatch(name):
            self.pair_ids.add(name.encode())
            return True
        if name in self.image_hashes:
            algorithm = ImageHash(name)
            is_digest = re.fullmatch(rf"[0-9a-f]{{{algorithm.num_digits}}}", digits) is not None
            if is_digest:
                self.image_hashes[algorithm].add(digits.encode())
            return is_digest
        host = spell_host(line)
        if host is None or not {".", ":"} & set(host):  # a word is no domain, and would block a whole top level
            return False
        self.domains.add(host)
        return True

    def _add_prefix(self, line: str) -> bool:
        address = spell_address(line)
        if address is None or len(line) > MAX_URL_CHARS:
            return False
        host = host_of(address.partition("/")[0])
        self.prefixes.setdefault(str(host), set()).add(address)
        return True


@dataclass(frozen=True)
class BlockList:
    """What some lists name together.

    Args:
        domains: as `hosts.spell_host` spells them; their subdomains are meant too.
        prefixes: by host, beginnings of addresses as `hosts.spell_address` spells them.
        prefix_lengths: by host, those that its prefixes have.
        pair_ids: sorted.
        image_hashes: sorted, by algorithm; those that no list uses are not there.
        broken: how many lines name nothing that can be looked up, and the first of them, by list.
    """

    domains: frozenset[str]
    prefixes: Mapping[str, frozenset[str]]
    prefix_lengths: Mapping[str, frozenset[int]]
    pair_ids: HexDigits
    image_hashes: Mapping[ImageHash, HexDigits]
    broken: Mapping[str, tuple[int, str]]


def parse_lists(lists: Mapping[str, bytes]) -> BlockList:
    """The lists of some files, by name; plain text or gzip'd.

    Raises:
        BlockListError: a file is no UTF-8 text, or names nothing; says which.
    """
    items, broken = _Items(), {}
    for name, data in lists.items():
        lines = _lines(name, data)
        num_broken, first_broken, num_items = 0, "", 0
        for line in lines:
            if items.add(line):
                num_items += 1
            else:
                num_broken += 1
                first_broken = first_broken or line[:_MAX_BROKEN_SHOWN]
        if not num_items:
            what = f"none of its {num_broken} lines, as {first_broken!r}, does" if num_broken else "it is empty"
            raise BlockListError(f"{name} names no domain, address, pair id or image hash: {what}")
        if num_broken:
            broken[name] = num_broken, first_broken
    return BlockList(
        domains=frozenset(items.domains),
        prefixes={host: frozenset(of_host) for host, of_host in items.prefixes.items()},
        prefix_lengths={host: frozenset(map(len, of_host)) for host, of_host in items.prefixes.items()},
        pair_ids=_sorted(items.pair_ids),
        image_hashes={algorithm: _sorted(digits) for algorithm, digits in items.image_hashes.items() if digits},
        broken=broken,
    )


def _lines(name: str, data: bytes) -> Iterable[str]:
    """The lines of a list that are not blank, without their comments."""
    try:
        content = gzip.decompress(data) if data.startswith(_GZIP) else data
        text = content.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as error:
        raise BlockListError(f"{name} is no whole gzip file: {error}") from error
    except UnicodeDecodeError as error:
        raise BlockListError(f"{name} is no text: {error}") from error
    if "\0" in text:
        raise BlockListError(f"{name} is no text: it holds zero bytes")
    for raw in text.split("\n"):
        line = (_COMMENT.sub("", raw) if "#" in raw else raw).strip()
        if line:
            yield line


def find_listed(pairs: pa.Table, block_list: BlockList) -> pa.BooleanArray:
    """Which pairs (columns pair_id, url) a list names by domain, address or pair id."""
    listed = _is_in(pairs["pair_id"], block_list.pair_ids)
    places = pc.fill_null(authorities(pairs["url"].combine_chunks()), "").dictionary_encode()
    hosts = [host_of(authority) or "" for authority in places.dictionary.to_pylist()]
    by_domain = np.array([_is_below(host, block_list.domains) for host in hosts], np.bool_)
    by_address = np.array([host in block_list.prefixes for host in hosts], np.bool_)
    indices = places.indices.to_numpy(zero_copy_only=False)
    listed |= by_domain[indices]
    for row in np.flatnonzero(by_address[indices] & ~listed).tolist():
        host, address = hosts[indices[row]], str(spell_address(pairs["url"][row].as_py()))
        lengths, prefixes = block_list.prefix_lengths[host], block_list.prefixes[host]
        listed[row] = any(address[:length] in prefixes for length in lengths)
    return pa.array(listed)


def find_listed_images(digests: pa.Table, block_list: BlockList) -> pa.BooleanArray:
    """Which images a list names by a hash. `digests`: a column of hex digits, or nulls, for each hash that is used."""
    listed = np.zeros(digests.num_rows, np.bool_)
    for algorithm, digits in block_list.image_hashes.items():
        listed |= _is_in(digests[algorithm.value], digits)
    return pa.array(listed)


def _is_below(host: str, domains: frozenset[str]) -> bool:
    """Whether the host, or a domain above it, is among `domains`. Above an IP address there is none."""
    if host.rpartition(".")[2].isdigit():
        return host in domains
    while host:
        if host in domains:
            return True
        host = host.partition(".")[2]
    return False


def _sorted(digits: set[bytes]) -> HexDigits:
    return np.sort(np.array(list(digits), np.bytes_))


def _is_in(values: pa.ChunkedArray, digits: HexDigits) -> npt.NDArray[np.bool_]:
    if not len(digits):
        return np.zeros(len(values), np.bool_)
    asked = np.array(pc.fill_null(values, "").to_pylist(), digits.dtype)
    places = np.minimum(np.searchsorted(digits, asked), len(digits) - 1)
    return np.asarray(digits[places] == asked)
