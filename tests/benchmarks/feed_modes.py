"""The two feeds: what a drawn pair costs, by the share of pairs that is kept.

python -m tests.benchmarks.feed_modes
"""

import argparse
import bisect
import gzip
import io
import json
import random
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from metaclip_core.sampling import ProbabilityTables, expected_kept
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.feed import reader_of
from pipelines.manifest import load_manifest
from pipelines.metadata import import_metadata
from pipelines.selection import read_unique
from pipelines.steady import SteadyFile
from tests.benchmarks import corpus
from tests.benchmarks.measure import interleaved, provenance

LANGUAGES = ["en", "de", "fr", "es", "ru", "ja"]
NUM_ENTRIES = 100_000  # of a language
NUM_SHARDS, SHARD_ROWS = 4, 1_000
MIN_IMAGE, MAX_IMAGE = 10_000, 30_000
SHARES = (0.1, 0.5, 1.0)
FINENESS = 1_000  # of t; an entry's count


def pairs():
    """For each shard: names, captions of two kinds, images of noise."""
    rng = random.Random(0)
    noise = rng.randbytes(1 << 20)
    texts = {language: iter(corpus.captions(language, 2 * NUM_SHARDS * SHARD_ROWS)) for language in LANGUAGES}
    for shard in range(NUM_SHARDS):
        rows = []
        for row in range(SHARD_ROWS):
            language, start = rng.choice(LANGUAGES), rng.randrange(1_000_000)
            told = [{"kind": kind, "text": next(texts[language])} for kind in ("alt", "title")]
            rows.append((f"{shard:05}{row:04}", told, noise[start : start + rng.randrange(MIN_IMAGE, MAX_IMAGE)]))
        yield shard, rows


def write_tar(path, rows):
    """A shard in img2dataset's layout."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for key, texts, image in rows:
            told = {"url": f"http://images.example/{key}.jpg", "texts": [list(text.values()) for text in texts]}
            for suffix, data in (("jpg", image), ("json", json.dumps(told).encode())):
                header = tarfile.TarInfo(f"{key}.{suffix}")
                header.size = len(data)
                archive.addfile(header, io.BytesIO(data))


def write_pools(folder):
    """The same pairs as plain tars, gzip'd ones and parquet files; the recipe's section of each."""
    layouts = ("tar", "gzip", "parquet")
    for layout in layouts:
        (folder / layout).mkdir()
    for shard, rows in pairs():
        plain = folder / "tar" / f"{shard:05}.tar"
        write_tar(plain, rows)
        (folder / "gzip" / f"{shard:05}.tar.gz").write_bytes(gzip.compress(plain.read_bytes(), 6))
        keys, captions, images = zip(*rows, strict=True)
        kind = pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))
        urls = [f"http://images.example/{key}.jpg" for key in keys]
        table = pa.table({"url": urls, "captions": pa.array(captions, kind), "image": images})
        pq.write_table(table, folder / "parquet" / f"{shard:05}.parquet", row_group_size=500)
    formats = dict.fromkeys(layouts, "webdataset") | {"parquet": "parquet"}
    return {layout: {"name": layout, "uri": str(folder / layout), "format": formats[layout]} for layout in layouts}


def tables_of(share, annotated):
    """The probability tables, with one t for all entries, that keep about this share of the pairs, or all they can."""

    def tables(t):
        counts = {language: np.full(NUM_ENTRIES, FINENESS) for language in LANGUAGES}
        return ProbabilityTables(counts, dict.fromkeys(LANGUAGES, t))

    def kept(t):
        return sum(expected_kept(annotated, tables(t)).values()) / annotated.num_rows

    return tables(1 + bisect.bisect_left(range(1, FINENESS), share, key=kept))


class Requests:
    """Counts what is read of any file while the block runs."""

    def __enter__(self):
        self.number, self.num_bytes, self._read = 0, 0, SteadyFile._read_once

        def counted(file, length, offset):
            piece = self._read(file, length, offset)
            self.number += 1
            self.num_bytes += len(piece)
            return piece

        SteadyFile._read_once = counted
        return self

    def __exit__(self, *_):
        SteadyFile._read_once = self._read


def read_all(reader, names):
    """Pairs drawn from all shards, with their images."""
    num_drawn = 0
    for shard, name in enumerate(names):
        for part in reader.read(name, shard=shard, epoch=0):
            num_drawn += sum(isinstance(image, bytes) for image in part.images(range(part.table.num_rows)))
    return num_drawn


def measure(recipe, pool, rounds):
    """A row of the table for each share."""
    config = build_config({**recipe, "pool": pool})
    where = curate(config, progress=lambda *_: None).curated
    names = load_manifest(config).table["name"].to_pylist()
    configs = {mode: build_config({**recipe, "pool": pool, "feed": {"mode": mode}}) for mode in ("annotated", "raw")}
    readers = {mode: reader_of(of_mode, where)() for mode, of_mode in configs.items()}
    for share in SHARES:
        read, tables = {}, tables_of(share, read_unique(where, 0))
        for mode, reader in readers.items():
            reader._tables = tables
            with Requests() as requests:
                read[mode] = read_all(reader, names), requests
        assert read["annotated"][0] == read["raw"][0]
        num_drawn = read["raw"][0]
        seconds, ratios = interleaved(
            {mode: lambda reader=reader: read_all(reader, names) for mode, reader in readers.items()}, rounds=rounds
        )
        cells = [f"{1e6 * seconds[mode] / num_drawn:,.0f}" for mode in readers]
        cells.append(f"{1 / ratios['raw']:.1f}")
        for _, requests in read.values():
            cells += [f"{requests.number / NUM_SHARDS:.1f}", f"{requests.num_bytes / NUM_SHARDS / 1e6:.1f}"]
        kept = num_drawn / (NUM_SHARDS * SHARD_ROWS)
        print(f"| {pool['name']} | {kept:.0%} | {' | '.join(cells)} |", flush=True)


def main():
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(provenance())
    print("CPU µs for each drawn pair; requests and megabytes of a shard, stored annotations included.\n")
    heading = ["pool", "kept", "annotated, µs", "raw, µs", "raw ÷ annotated"]
    heading += [f"{mode}: {what}" for mode in ("annotated", "raw") for what in ("requests", "MB")]
    print(f"| {' | '.join(heading)} |\n|{'---|' * len(heading)}")
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        recipe = {"root": str(folder / "root"), "metadata": {"name": "words"}, "compute": {"local_cpus": 2}}
        (folder / "entries").mkdir()
        for language in LANGUAGES:
            lines = "\n".join(corpus.entries(language, NUM_ENTRIES))
            (folder / "entries" / f"{language}.txt").write_text(lines)
        config = build_config(recipe)
        import_metadata(str(folder / "entries"), config)
        with connected(config.compute):
            for pool in write_pools(folder).values():
                measure(recipe, pool, arguments.rounds)


if __name__ == "__main__":
    main()
