"""The data card of a world: wall and CPU seconds, and peak memory, of a process that makes it from what is on disk.

python -m tests.benchmarks.card --folder FOLDER
"""

import argparse
import io
import json
import resource
import statistics
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from metaclip_core.balancing import thresholds
from metaclip_core.counting import Measure
from metaclip_core.funnel import Funnel
from metaclip_core.records import COUNTS, SAMPLED, DropReason, Stage
from pipelines import samples, storage
from pipelines.card import write_card
from pipelines.config import build_config
from pipelines.count import read_counts, read_pool_funnel
from pipelines.curate import CurationResult
from pipelines.curated import Curated
from pipelines.manifest import update_manifest
from pipelines.thresholds import read_expected, read_thresholds
from tests.benchmarks.measure import provenance
from tests.benchmarks.whatif import sample_of, world

NUM_SHARDS, SHARD_IMAGES = 64, 32
KINDS = ["alt", "title", "data-image-title"]


def config_of(folder):
    return build_config({"root": str(folder / "root"), "pool": {"name": "world", "uri": str(folder / "pool")}})


def write_pool(folder):
    """Shards of photographs' size; the place of each image."""
    rng = np.random.default_rng(2)
    folder.mkdir(parents=True)
    places = []
    for shard in range(NUM_SHARDS):
        with tarfile.open(folder / f"{shard:05d}.tar", "w") as archive:
            for number in range(SHARD_IMAGES):
                pixels = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
                buffer = io.BytesIO()
                Image.fromarray(pixels).resize((640, 480)).save(buffer, "JPEG", quality=90)
                header = tarfile.TarInfo(f"{number}.jpg")
                header.size = buffer.tell()
                places.append((shard, archive.offset + tarfile.BLOCKSIZE, header.size))
                buffer.seek(0)
                archive.addfile(header, buffer)
    return np.array(places)


def write_counts(counts, uri):
    """As a curation does: the rows of a language stand together."""
    with (
        storage.publishing(storage.join(uri, "counts.parquet")) as (filesystem, path),
        pq.ParquetWriter(path, COUNTS, filesystem=filesystem, compression="zstd") as writer,
    ):
        for language, matches in sorted(counts.matches.items()):
            size = len(matches)
            entries = [f"{language} {entry * 2_654_435_761 % 2**32:x}" for entry in range(size)]
            columns = [pa.repeat(language, size), np.arange(size, dtype=np.int32), entries, matches]
            writer.write_table(pa.table(columns, schema=COUNTS))
    sums = [{"measure": measure, "language": language, "count": n} for (measure, language), n in counts.sums.items()]
    storage.write_table(storage.join(uri, "sums.parquet"), pa.Table.from_pylist(sums))


def write_sample(counts, uri, places, *, num_pairs):
    """The sample of the benchmark of thresholds, with all columns, each pair with the place of an image."""
    rng = np.random.default_rng(3)
    with (
        storage.publishing(uri) as (filesystem, path),
        pq.ParquetWriter(path, SAMPLED, filesystem=filesystem, compression="zstd") as writer,
    ):
        first = 0
        for table in sample_of(counts, num_pairs=num_pairs):
            writer.write_table(completed(table, places, rng, first=first))
            first += table.num_rows


def completed(table, places, rng, *, first):
    """SAMPLED, from its captions and inclusions."""
    numbers = range(first, first + table.num_rows)
    captions = table["captions"].combine_chunks()
    flat = captions.flatten()
    texts = [f"caption {number} " + "of some length " * (number % 7) for number in range(len(flat))]
    kinds = pa.array(KINDS).take(pa.array(rng.integers(0, len(KINDS), len(flat))))
    rest = (flat.field(name) for name in ("language", "language_score", "entry_ids"))
    flat = pa.StructArray.from_arrays([kinds, pa.array(texts), *rest], fields=list(flat.type))
    shard, offset, length = places[rng.integers(0, len(places), table.num_rows)].T
    columns = {
        "pair_id": [f"{number * 0x9E3779B97F4A7C15F39CC060 % 2**96:024x}" for number in numbers],
        "url": [f"https://example.org/images/{number}.jpg" for number in numbers],
        "shard": shard.astype(np.int32),
        "row": np.array(numbers, np.int32),
        "captions": pa.ListArray.from_arrays(captions.offsets, flat),
        "image_offset": offset,
        "image_length": length,
        "inclusion": table["inclusion"],
    }
    return pa.table([columns[name] for name in SAMPLED.names], schema=SAMPLED)


def prepare(folder, arguments):
    """Write what a curation leaves behind, as far as a card reads it."""
    config = config_of(folder)
    places = write_pool(folder / "pool")
    manifest = update_manifest(config)
    counts = world(num_entries=arguments.entries, num_languages=arguments.languages)
    layout = storage.Layout(config.root)
    uris = {
        f"{name}_uri": getattr(layout, name)("v")
        for name in ("metadata", "annotations", "duplicates", "counts", "thresholds")
    }
    unused = dict.fromkeys(("contamination_uri", "screens_uri", "hashes_uri", "near_uri"))
    curated = Curated("world", manifest.num_shards, manifest.digest, **uris, scores_uris=(), **unused)
    write_counts(counts, curated.counts_uri)
    found = thresholds(counts.matches, p=0.06)
    storage.write_json(storage.join(curated.thresholds_uri, "thresholds.json"), {"p": found.p, "t": found.t})
    expected = {name: float(np.minimum(matches, found.t[name]).sum()) for name, matches in counts.matches.items()}
    storage.write_json(storage.join(curated.thresholds_uri, "expected.json"), expected)
    funnel = Funnel()
    funnel.enter(Stage.READ, 3 * counts.total(Measure.PAIRS))
    funnel.drop(Stage.READ, DropReason.NO_CAPTION, 2 * counts.total(Measure.PAIRS))
    storage.write_json(storage.join(curated.counts_uri, "funnel.json"), funnel.to_records())
    version = storage.version_of("sample", samples.REVISION, counts="v", num_pairs=config.curation.sample_rows)
    uri = storage.join(layout.sample(version), "sample.parquet")
    write_sample(counts, uri, places, num_pairs=arguments.captions // 2)
    (folder / "curated.json").write_text(json.dumps(curated.__dict__))


def measure(folder):
    """Make the card in this process; what it cost, as JSON."""
    wall, cpu = time.perf_counter(), time.process_time()
    curated = Curated(**json.loads((folder / "curated.json").read_text()))
    curation = CurationResult(
        curated,
        read_thresholds(curated.thresholds_uri),
        read_counts(curated.counts_uri),
        read_pool_funnel(curated.counts_uri),
        read_expected(curated.thresholds_uri),
    )
    card = write_card(config_of(folder), curation, progress=lambda *_: None)
    sizes = storage.list_sizes(card.folder_uri)
    return {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": time.process_time() - cpu,
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
        "page_mb": sizes["index.html"] / 1e6,
        "json_mb": sizes["card.json"] / 1e6,
    }


def main():
    """Print what a card costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="is made, and kept for another run")
    parser.add_argument("--entries", type=int, default=27_000_000)
    parser.add_argument("--languages", type=int, default=300)
    parser.add_argument("--captions", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--once", action="store_true", help="measure in this process")
    arguments = parser.parse_args()
    if arguments.once:
        print(json.dumps(measure(arguments.folder)))
        return
    print(provenance())
    if not (arguments.folder / "curated.json").exists():
        prepare(arguments.folder, arguments)
    command = [sys.executable, "-m", "tests.benchmarks.card", "--folder", str(arguments.folder), "--once"]
    rounds = []
    for _ in range(arguments.rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rounds.append(json.loads(done.stdout.splitlines()[-1]))
    print("| | median | most |\n|---|---|---|")
    for name in rounds[0]:
        values = [taken[name] for taken in rounds]
        print(f"| {name} | {statistics.median(values):.2f} | {max(values):.2f} |")


if __name__ == "__main__":
    main()
