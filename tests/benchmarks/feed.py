"""The feed alone against a hand-tuned loader: `torch` DataLoader and `webdataset`, the same decode, the same cores.

python -m tests.benchmarks.feed

A pool of JPEGs of about 100 kB, of which the draw keeps a fifth. Ours: stored annotations, draw, ranged reads, decode,
all through Ray Data. Theirs: workers that read whole shards as a stream, and decode what a list of kept keys holds.
Both crop by the same numbers, tokenise with the same tokenizer and give batches of uint8 pixels to one consumer.
"""

import argparse
import io
import json
import os
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import ray
import torch
import webdataset
from PIL import Image

from metaclip_core.captions import load_encoder
from metaclip_core.images import Crop, decode
from metaclip_core.ledger import Ledger
from metaclip_core.metadata.store import ENTRIES, write_metadata
from metaclip_core.positions import Positions
from pipelines import storage
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.draw import open_drawing
from pipelines.launch import WorkerSpec, training_stream
from pipelines.manifest import load_manifest
from pipelines.selection import read_unique
from pipelines.tokenizer import make_tokenizer
from pipelines.window import window_of
from tests import pictures
from tests.benchmarks.measure import provenance

NUM_SHARDS, SHARD_ROWS = 16, 400
IMAGE_BYTES, KEPT_SHARE = 100_000, 0.2
NUM_ENTRIES = 20
BATCH_ROWS, IMAGE_SIZE, CONTEXT_LENGTH, MAX_PIXELS = 64, 224, 77, 50_000_000
EPOCHS = 3


def jpegs():
    """Some pictures of about 100 kB: photographs and textures, 640 pixels wide, with grain."""
    rng = np.random.default_rng(0)
    made = [picture for picture, _ in zip(pictures.photos(), range(16), strict=False)]
    made += [pictures.texture(rng) for _ in range(16)]
    found = []
    for picture in made:
        pixels = np.asarray(picture.convert("RGB").resize((640, 480), Image.Resampling.LANCZOS))
        grainy = Image.fromarray(np.clip(pixels + rng.normal(0, 8, (480, 640, 1)), 0, 255).astype(np.uint8))
        sized = [pictures.encoded(grainy, quality=quality) for quality in range(60, 98, 2)]
        found.append(min(sized, key=lambda data: abs(len(data) - IMAGE_BYTES)))
    return found


def write_pool(folder, images):
    """Shards of JPEGs and JSON; every caption mentions one entry."""
    folder.mkdir()
    for shard in range(NUM_SHARDS):
        with tarfile.open(folder / f"{shard:05}.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            for row in range(SHARD_ROWS):
                key = f"{shard:05}{row:04}"
                caption = f"this is a picture of the thing called entry{chr(97 + row % NUM_ENTRIES)} in a garden"
                told = {"url": f"http://images.example/{key}.jpg", "texts": [{"type": "alt", "text": caption}]}
                data = images[(shard + row) % len(images)]
                for suffix, content in (("jpg", data), ("json", json.dumps(told).encode())):
                    header = tarfile.TarInfo(f"{key}.{suffix}")
                    header.size = len(content)
                    archive.addfile(header, io.BytesIO(content))


def config_of(folder, *, cpus):
    """A recipe that keeps a fifth."""
    rows = NUM_SHARDS * SHARD_ROWS // NUM_ENTRIES  # that mention an entry
    return build_config(
        {
            "root": str(folder / "root"),
            "pool": {"name": "pool", "uri": str(folder / "pool")},
            "metadata": {"name": "bench"},
            "curation": {"p": None, "t_en": round(KEPT_SHARE * rows)},
            "feed": {"window_positions": EPOCHS * NUM_SHARDS, "interleaved_shards": 4, "decode_rows": 32},
            "model": {"vocab_size": 300},
            "compute": {"local_cpus": 8, "object_store_mb": 512, "decode_actors": cpus, "max_actors": 2},
        }
    )


def write_metadata_of(config):
    layout = storage.Layout(config.root)
    entries = [f"entry{chr(97 + entry)}" for entry in range(NUM_ENTRIES)]
    table = pa.table([entries, ["bench"] * NUM_ENTRIES, np.zeros(NUM_ENTRIES)], schema=ENTRIES)
    write_metadata(pafs.LocalFileSystem(), layout.metadata("bench"), {"en": table}, provenance={})
    storage.write_json(layout.metadata_name("bench"), {"version": "bench"})


def steady_rate(batches):
    """Rows a second from the first batch to the last."""
    started, rows = None, 0
    for size in batches:
        if started is None:
            started = time.perf_counter()
        else:
            rows += size
        stopped = time.perf_counter()
    return rows / (stopped - started)


def by_feed(spec):
    """Ours, to batches of tensors in this process."""
    window = window_of(spec.run_name)
    ray.get(window.start.remote(Ledger(Positions(NUM_SHARDS, 0)).to_table()))
    stream = training_stream(spec)
    for batch in stream.iter_batches(batch_size=BATCH_ROWS, batch_format="pyarrow", prefetch_batches=2):
        alive = batch.filter(batch["drop_reason"].is_null())
        yield alive.num_rows


class Loaded:
    """What a hand-tuned worker does with a sample."""

    def __init__(self, captions, tokenizer_folder):
        self._captions = captions  # of kept keys
        self._folder = tokenizer_folder
        self._encoder = None

    def is_kept(self, sample):
        return sample["__key__"] in self._captions

    def __call__(self, sample):
        if self._encoder is None:  # one for each worker
            torch.set_num_threads(1)
            self._encoder = load_encoder(self._folder, context_length=CONTEXT_LENGTH)
        caption, crop = self._captions[sample["__key__"]]
        pixels = decode(sample["jpg"], image_size=IMAGE_SIZE, max_pixels=MAX_PIXELS, crop=crop, reduced=True)
        ids = np.zeros(CONTEXT_LENGTH, np.int64)
        [encoded] = self._encoder.encode([caption])
        ids[: len(encoded)] = encoded
        return pixels, ids


def by_loader(folder, loaded, *, cpus):
    """Theirs."""
    shards = [str(path) for path in sorted((folder / "pool").glob("*.tar"))] * EPOCHS
    samples = webdataset.WebDataset(shards, shardshuffle=False, nodesplitter=None, empty_check=False)
    samples = samples.select(loaded.is_kept).map(loaded).batched(BATCH_ROWS)
    loader = torch.utils.data.DataLoader(samples, batch_size=None, num_workers=cpus, prefetch_factor=4)
    for pixels, _ in loader:
        yield len(pixels)


def main():
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=len(os.sched_getaffinity(0)), help="decoders of either")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        images = jpegs()
        write_pool(folder / "pool", images)
        config = config_of(folder, cpus=arguments.cpus)
        write_metadata_of(config)
        with connected(config.compute):
            measure(folder, config, arguments, sum(map(len, images)) / len(images))


def measure(folder, config, arguments, image_bytes):
    curation = curate(config, progress=lambda *_: None)
    curated, manifest = curation.curated, load_manifest(config)
    tokenizer_uri = str(folder / "tokenizer")
    make_tokenizer(config, curation, manifest, uri=tokenizer_uri)
    drawing = open_drawing(config, curated)
    rng = np.random.default_rng(0)
    kept = {}
    for shard in range(NUM_SHARDS):
        rows = drawing.train(read_unique(curated, shard), epoch=0).rows
        for row, caption in zip(rows["row"].to_pylist(), rows["caption"].to_pylist(), strict=True):
            kept[f"{shard:05}{row:04}"] = caption, Crop(*rng.random(4).tolist())
    loaded = Loaded(kept, folder / "tokenizer")
    spec = WorkerSpec(config, curated, "bench-feed", tokenizer_uri)
    window = window_of(spec.run_name)  # lives as long as it is held
    contenders = {
        "`DataLoader` and `webdataset`": lambda: by_loader(folder, loaded, cpus=arguments.cpus),
        "the feed": lambda: by_feed(spec),
    }
    rates = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, batches in contenders.items():
            rates[name].append(steady_rate(batches()))
    del window
    base, own = rates.values()
    print(provenance())
    print(
        f"{NUM_SHARDS} shards × {SHARD_ROWS} JPEGs of {image_bytes / 1e3:.0f} kB, "
        f"{len(kept) / NUM_SHARDS / SHARD_ROWS:.0%} kept, {EPOCHS} epochs a round, batches of {BATCH_ROWS}; "
        f"{arguments.rounds} interleaved rounds\n"
    )
    print("| | images/s, first batch to last | ratio, median of rounds |\n|---|---|---|")
    ratios = [1.0, statistics.median(ours / theirs for ours, theirs in zip(own, base, strict=True))]
    for (name, of_rounds), ratio in zip(rates.items(), ratios, strict=True):
        print(f"| {name} | {statistics.median(of_rounds):,.0f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
