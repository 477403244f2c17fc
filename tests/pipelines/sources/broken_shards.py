"""Shards that are broken in one place each, with what should be kept of them and what the funnel should say.

Four sound samples stand around the broken one; their captions must come through whatever happens between them.
"""

import gzip
import io
import json
import tarfile
import zlib
from dataclasses import dataclass, field

import numpy as np

from metaclip_core.records import DropReason as Reason
from metaclip_core.records import Stage

MAX_METADATA_BYTES, MAX_IMAGE_BYTES, MAX_CAPTION_CHARS = 200_000, 50_000, 100
BLOCK = tarfile.BLOCKSIZE
TEN_MB = 10_000_000
GOOD = ["good 0", "good 1", "good 2", "good 3"]


@dataclass(frozen=True)
class Broken:
    """One shard. `dropped` counts by (stage, reason), all of them."""

    name: str
    data: bytes
    kept: list[str] = field(default_factory=lambda: list(GOOD))
    dropped: dict = field(default_factory=dict)
    suffix: str = ".tar"


def told(*texts, **more):
    content = {"url": "http://host/a.jpg", "texts": [["alt", text] for text in texts], **more}
    return json.dumps(content).encode()


def good(number):
    """A sound sample, with an image that does not compress."""
    noise = np.random.default_rng(number).bytes(700 + 900 * number)
    return [(f"g{number}.jpg", noise), (f"g{number}.json", told(GOOD[number]))]


def archive(members, *, tar_format=tarfile.GNU_FORMAT):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as file:
        for name, data in members:
            header = tarfile.TarInfo(name)
            header.size = len(data)
            file.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def around(*members):
    """The sound samples with these members between them."""
    return archive([*good(0), *good(1), *members, *good(2), *good(3)])


def resealed(block):
    """A header with its checksum made right."""
    block = bytearray(block)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


READ, CAPTIONS, SHARDS = Stage.READ, Stage.CAPTIONS, Stage.SHARDS

SHAPES = ["null", "true", "3", "-0.5e400", "NaN", '"text"', "[]", "[[]]", '[{"texts": []}]']
BROKEN_JSON = [
    *SHAPES,
    "",
    " ",
    "{",
    "}",
    '{"texts"',
    '{"texts": [',
    '{"texts": [["alt", "x"]]',
    '{"texts": [["alt", "x"]]}}',
    "{'texts': []}",
    '{"texts": [["alt", "x"],]}',
    '{"url": "a\nb", "texts": [["alt", "x"]]}',
    '{"texts": [["alt", "\\u12"]]}',
    '{"texts": [["alt", "\\x41"]]}',
    '\ufeff{"texts": [["alt", "x"]]}',
    "\0" * 50,
    '{"texts": [["alt", "x"]]}\0',
    "[" * 5_000,
    '{"a":' * 5_000,
    '{"n": ' + "9" * 5_000 + "}",
    *[f'{{"url": {shape}, "texts": [["alt", "x"]]}}' for shape in SHAPES if shape not in {"null", '"text"'}],
    *[f'{{"texts": {shape}}}' for shape in SHAPES if not shape.startswith("[")],
    *[json.dumps({"texts": shape}) for shape in SHAPES if not shape.startswith("[")],
    *[f'{{"captions": {shape}}}' for shape in SHAPES if not shape.startswith("[")],
]
BAD_TEXTS = {
    Reason.CAPTION_BAD_SHAPE: [
        *SHAPES,
        "{}",
        '{"type": "alt"}',
        '{"text": "x"}',
        '{"type": 3, "text": "x"}',
        '{"type": "alt", "text": null}',
        '{"type": "alt", "text": ["x"]}',
        '{"kind": {}, "text": "x"}',
        '["alt"]',
        '["alt", 3]',
        '[null, "x"]',
        '["alt", "x", "y"]',
        '["alt", ["x"]]',
        '{"type": "alt", "text": 1e999}',
    ],
    Reason.CAPTION_EMPTY: [
        '["alt", ""]',
        '["alt", " \\t\\n"]',
        '["alt", "\\u3000\\u2003"]',
        '{"type": "a", "text": ""}',
    ],
    Reason.CAPTION_OVER_LIMIT: [
        json.dumps(["alt", "x" * 101]),
        json.dumps(["alt", "\0" * 101]),
        json.dumps(["alt", "🐶" * 101]),
        json.dumps(["alt", "x" * 150_000]),
    ],
    Reason.CAPTION_BROKEN_TEXT: [
        '["alt", "\\ud800"]',
        '["alt", "a\\udfffb"]',
        '["alt", "\\udc00\\ud800"]',
        '["\\ud83d", "x"]',
        '["alt", "\ufffd"]',
        '["alt", "caf\udce9"]',  # the byte e9
        '["alt", "\udcf0\udc9f"]',
        '["alt", "\udced\udca0\udc80"]',  # a surrogate in UTF-8
    ],
}


def json_cases():
    """JSON of any shape in the place of a sample's metadata, or of one of its texts."""
    for number, text in enumerate(BROKEN_JSON):
        data = around(("bad.jpg", b"i"), ("bad.json", text.encode()))
        yield Broken(f"json-{number}", data, dropped={(READ, Reason.BAD_METADATA): 1})
    for reason, texts in BAD_TEXTS.items():
        for number, text in enumerate(texts):
            broken = text.encode("utf-8", "surrogateescape")
            alone = b'{"texts": [' + broken + b"]}"
            beside = b'{"texts": [["alt", "first"], ' + broken + b', ["title", "last"]]}'
            dropped = {(CAPTIONS, reason): 1}
            data = around(("bad.jpg", b"i"), ("bad.json", alone))
            yield Broken(f"text-{reason}-{number}", data, dropped={**dropped, (READ, Reason.NO_CAPTION): 1})
            data = around(("bad.jpg", b"i"), ("bad.json", beside))
            yield Broken(f"beside-{reason}-{number}", data, [*GOOD[:2], "first", "last", *GOOD[2:]], dropped)


def member_cases():
    """Members of a sample that are missing, empty, too large or of another kind."""
    some = told("text")
    large = told("x" * TEN_MB)
    cases = {
        "no-image": ([("b.json", some)], Reason.NO_IMAGE),
        "other-image": ([("b.gif", b"i"), ("b.json", some)], Reason.NO_IMAGE),
        "no-suffix": ([("b", b"i")], Reason.NO_IMAGE),
        "dots": ([("...", b"i")], Reason.NO_IMAGE),
        "dot-file": ([(".json", some)], Reason.NO_IMAGE),
        "a-blank": ([(" ", b"i")], Reason.NO_IMAGE),
        "long-name": ([("n" * 5_000, b"i")], Reason.NO_IMAGE),
        "no-metadata": ([("b.jpg", b"i")], Reason.NO_CAPTION),
        "empty-text": ([("b.jpg", b"i"), ("b.json", b"{}"), ("b.npy", b"x")], Reason.NO_CAPTION),
        "image-over-limit": ([("b.jpg", bytes(MAX_IMAGE_BYTES + 1)), ("b.json", some)], Reason.IMAGE_BYTES_OVER_LIMIT),
        "image-of-ten-mb": ([("b.png", bytes(TEN_MB)), ("b.json", some)], Reason.IMAGE_BYTES_OVER_LIMIT),
        "json-of-ten-mb": ([("b.jpg", b"i"), ("b.json", large)], Reason.METADATA_BYTES_OVER_LIMIT),
        "text-of-ten-mb": ([("b.jpg", b"i"), ("b.txt", b"x" * TEN_MB)], Reason.METADATA_BYTES_OVER_LIMIT),
        "zeros-of-ten-mb": ([("b.jpg", b"i"), ("b.json", bytes(TEN_MB))], Reason.METADATA_BYTES_OVER_LIMIT),
        "nesting-of-ten-mb": ([("b.jpg", b"i"), ("b.json", b"[" * TEN_MB)], Reason.METADATA_BYTES_OVER_LIMIT),
    }
    for name, (members, reason) in cases.items():
        yield Broken(f"member-{name}", around(*members), dropped={(READ, reason): 1})
    texts = {
        "empty": (b"", Reason.CAPTION_EMPTY),
        "blanks": (b" \n\t", Reason.CAPTION_EMPTY),
        "latin-1": ("café".encode("latin-1"), Reason.CAPTION_BROKEN_TEXT),
        "utf-16": ("café".encode("utf-16"), Reason.CAPTION_BROKEN_TEXT),
        "half-a-character": ("犬".encode()[:2], Reason.CAPTION_BROKEN_TEXT),
        "overlong": (b"\xc0\x80", Reason.CAPTION_BROKEN_TEXT),
        "surrogate": (b"\xed\xa0\x80", Reason.CAPTION_BROKEN_TEXT),
        "beyond-unicode": (b"\xf5\x80\x80\x80", Reason.CAPTION_BROKEN_TEXT),
        "long": (b"x" * 101, Reason.CAPTION_OVER_LIMIT),
        "long-nul": (bytes(101), Reason.CAPTION_OVER_LIMIT),
    }
    for name, (text, reason) in texts.items():
        dropped = {(CAPTIONS, reason): 1, (READ, Reason.NO_CAPTION): 1}
        yield Broken(f"plain-{name}", around(("b.jpg", b"i"), ("b.txt", text)), dropped=dropped)
    for name, text in {"nul": "a\0b", "bom": "\ufeffa", "bidi": "\u202ea", "noncharacter": "\uffff"}.items():
        data = around(("b.jpg", b""), ("b.txt", text.encode()))
        yield Broken(f"plain-sound-{name}", data, [*GOOD[:2], text, *GOOD[2:]])


def header_cases():
    """A header of the sample in the middle that is damaged, or that lies."""
    members = [("bad.jpg", b"i" * 3_000), ("bad.json", told("text"))]
    whole = around(*members)
    image = whole.index(b"bad.jpg")
    metadata = whole.index(b"bad.json")
    for at in range(0, BLOCK, 9):
        for name, place, reason in (("image", image, Reason.NO_IMAGE), ("json", metadata, Reason.NO_CAPTION)):
            data = bytearray(whole)
            data[place + at] ^= 0x15
            dropped = {(READ, Reason.BAD_MEMBER): 1, (READ, reason): 1}
            yield Broken(f"header-{name}-{at}", bytes(data), dropped=dropped)

    def lying(start, stop, what):
        block = resealed(whole[image : image + start] + what + whole[image + stop : image + BLOCK])
        return whole[:image] + block + whole[image + BLOCK :]

    lost = {(READ, Reason.BAD_MEMBER): 1, (READ, Reason.NO_IMAGE): 1}
    for name, size in {"letters": b"nonsense!!!\0", "negative": b"\xff" * 12, "eights": b"00000000888\0"}.items():
        yield Broken(f"size-{name}", lying(124, 136, size), dropped=lost)
    for name, size in {
        "8-gib": b"77777777777\0",
        "2**95": b"\x80" + b"\x7f" * 11,
        "a-blank-more": b"00000777777 ",
    }.items():
        yield Broken(f"size-{name}", lying(124, 136, size), GOOD[:2], {(SHARDS, Reason.SHARD_TRUNCATED): 1})
    shorter = {(READ, Reason.BAD_MEMBER): 1}
    kept = [*GOOD[:2], "text", *GOOD[2:]]
    for size in (0, 1, 512, 1_024, 2_000):
        yield Broken(f"size-{size}-of-3000", lying(124, 136, b"%011o\0" % size), kept, shorter)
    for kind in (b"1", b"2", b"3", b"4", b"5", b"6"):  # links, folders, devices: data is none of theirs
        yield Broken(f"kind-{kind.decode()}", lying(156, 157, kind), dropped=lost)
    for kind in (b"g", b"K", b"V", b"M", b"D", b"z", b"\xff"):  # what has data, and is no file
        yield Broken(f"kind-{kind!r}", lying(156, 157, kind), dropped={(READ, Reason.NO_IMAGE): 1})


def members_before(data, end):
    """The samples whose members end before `end`, and what is dropped of the one that is cut."""
    with tarfile.open(fileobj=io.BytesIO(data)) as file:
        there = [header.name for header in file if header.offset_data + header.size <= end]
    kept = [text for number, text in enumerate(GOOD) if f"g{number}.json" in there]
    dropped = {(READ, Reason.NO_CAPTION): 1} if there and there[-1].endswith("jpg") else {}
    unreadable = {} if there else {(SHARDS, Reason.SHARD_UNREADABLE): 1}
    return kept, dropped, unreadable or {(SHARDS, Reason.SHARD_TRUNCATED): 1}


def cut_cases():
    """Shards that end early."""
    data = around()
    closing = -(-len(data.rstrip(b"\0")) // BLOCK) * BLOCK
    for cut in range(0, closing, 149):
        kept, dropped, shard = members_before(data, cut)
        yield Broken(f"cut-{cut}", data[:cut], kept, {**dropped, **shard})


def gzip_cases():
    """gzip'd shards with broken tails, or behind which something stands."""
    data = around()
    whole = gzip.compress(data, mtime=0)
    for cut in range(0, len(whole) - 8, 211):
        kept, dropped, shard = members_before(data, len(inflated(whole[:cut])))
        yield Broken(f"gz-cut-{cut}", whole[:cut], kept, {**dropped, **shard}, ".tar.gz")
    for at in range(1_000, len(whole) - 1_000, 499):
        hurt = whole[:at] + b"\xff" * 700 + whole[at + 700 :]
        found = inflated(hurt)
        sound = next(
            (i for i, (ours, theirs) in enumerate(zip(found, data, strict=False)) if ours != theirs), len(found)
        )
        kept, dropped, shard = members_before(data, sound)
        if members_before(data, len(found))[0] != kept:  # much was made of the broken bytes before they were found out
            continue
        yield Broken(f"gz-broken-{at}", hurt, kept, {**dropped, **shard}, ".tar.gz")
    unreadable = {(SHARDS, Reason.SHARD_UNREADABLE): 1}
    for at in (0, 1, 2):
        hurt = whole[:at] + b"\xee" + whole[at + 1 :]
        yield Broken(f"gz-magic-{at}", hurt, [], unreadable, ".tar.gz")
    for name, tail in {"zeros": bytes(99), "garbage": b"garbage", "half": whole[:100], "crc": b""}.items():
        behind = whole[:-8] + b"\0" * 8 if name == "crc" else whole + tail
        yield Broken(f"gz-tail-{name}", behind, suffix=".tgz")
    bomb = gzip.compress(around(("b.jpg", bytes(40_000_000)), ("b.json", told("x"))), 9)
    yield Broken("gz-bomb", bomb, dropped={(READ, Reason.IMAGE_BYTES_OVER_LIMIT): 1}, suffix=".tgz")


def inflated(data):
    """What stands before the byte where it breaks or ends, by zlib fed byte by byte."""
    decoder, found = zlib.decompressobj(31), b""
    for at in range(len(data)):
        try:
            found += decoder.decompress(data[at : at + 1])
        except zlib.error:
            break
    return found


def file_cases():
    """What is no archive at all."""
    noise = np.random.default_rng(0).bytes(5_000)
    files = {
        "empty": b"",
        "byte": b"x",
        "noise": noise,
        "html": b"<html>" * 500,
        "gzip": gzip.compress(around()),
        "zip": b"PK\x03\x04" + noise,
        "png": b"\x89PNG\r\n\x1a\n" + noise,
        "jpeg": b"\xff\xd8\xff\xe0" + noise,
        "parquet": b"PAR1" + noise + b"PAR1",
        "names": b"a.jpg\0b.json\0" * 100,
        "ff": b"\xff" * 5_000,
    }
    for name, data in files.items():
        blocks = {(READ, Reason.BAD_MEMBER): 1} if len(data) >= BLOCK else {}
        yield Broken(f"file-{name}", data, [], {**blocks, (SHARDS, Reason.SHARD_UNREADABLE): 1})


def broken_shards():
    """All of them, by name."""
    families = (json_cases, member_cases, header_cases, cut_cases, gzip_cases, file_cases)
    return {case.name: case for family in families for case in family()}
