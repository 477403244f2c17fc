"""The tar reader against plain `tarfile` and Ray's own; and when ranges of a shard cost less than all of it.

python -m tests.benchmarks.tar rate
python -m tests.benchmarks.tar ranges
"""

import argparse
import io
import json
import random
import statistics
import tarfile
import tempfile
import time
from pathlib import Path

import pyarrow.fs as pafs

from metaclip_core.funnel import Funnel
from pipelines.config.pool import PoolConfig
from pipelines.sources import ranges
from pipelines.sources.ranges import read_ranges
from pipelines.sources.tar import read_members
from pipelines.sources.webdataset import WebDatasetSource
from tests.benchmarks.measure import provenance

NUM_SHARDS, SHARD_ROWS = 20, 1_000
MIN_IMAGE, MAX_IMAGE = 10_000, 30_000
LATENCY_S, BYTES_PER_S = 0.020, 50e6
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
GAPS = {"0": 0, "64 KiB": 64 << 10, "256 KiB": 256 << 10, "1 MiB": 1 << 20, "4 MiB": 4 << 20}


def write_pool(folder, *, num_shards=NUM_SHARDS):
    """Shards in img2dataset's layout; images are noise."""
    rng = random.Random(0)
    noise = rng.randbytes(1 << 20)
    for shard in range(num_shards):
        with tarfile.open(folder / f"{shard:05}.tar", "w", format=tarfile.GNU_FORMAT) as archive:
            for row in range(SHARD_ROWS):
                key = f"{shard:05}{row:04}"
                start = rng.randrange(1000)
                texts = [["alt", f"a caption of some forty characters, {key}"], ["title", f"title {key}"]]
                told = {"url": f"http://images.example/{key}.jpg", "texts": texts, "key": key, "sha256": "0" * 64}
                members = {
                    "jpg": noise[start : start + rng.randrange(MIN_IMAGE, MAX_IMAGE)],
                    "json": json.dumps(told, indent=4).encode(),
                    "txt": texts[0][1].encode(),
                }
                for suffix, data in members.items():
                    header = tarfile.TarInfo(f"{key}.{suffix}")
                    header.size = len(data)
                    archive.addfile(header, io.BytesIO(data))


def plain(folder):
    """Every member's bytes by Python's own reader, as a stream."""
    for path in sorted(folder.glob("*.tar")):
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
            for header in archive:
                archive.extractfile(header).read()


def plain_captions(folder):
    """What the captions pass is for, by Python's own reader: seeks over images, parses the metadata."""
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, mode="r:") as archive:
            for header in archive:
                if header.name.endswith("json"):
                    json.loads(archive.extractfile(header).read())


def ours(folder):
    """Every member's bytes by our reader."""
    for path in sorted(folder.glob("*.tar")):
        with pafs.LocalFileSystem().open_input_stream(str(path), compression=None, buffer_size=1 << 20) as stream:
            for _ in read_members(stream, wanted=lambda _name, _length: True):
                pass


def our_captions(folder):
    """The captions pass of the source: pairs with all that the funnel counts."""
    source = WebDatasetSource(PoolConfig(), uri=str(folder))
    for shard, name in enumerate(source.list_shards()["name"].to_pylist()):
        for _ in source.read_captions(name, shard=shard, batch_rows=16_384, funnel=Funnel()):
            pass


def by_ray(folder):
    """Ray's reader, raw bytes; its samples are dropped where they arrive."""
    import ray  # noqa: PLC0415 - the other measurements run without

    data = ray.data.read_webdataset([str(path) for path in sorted(folder.glob("*.tar"))], decoder=None)
    for _ in data.iter_batches(batch_size=None, batch_format="pandas"):
        pass


def timed(contenders, *, rounds):
    """Median wall and CPU seconds of each contender, a round after a round."""
    wall, cpu = ({name: [] for name in contenders} for _ in range(2))
    for _ in range(rounds):
        for name, run in contenders.items():
            start, start_cpu = time.perf_counter(), time.process_time()
            run()
            wall[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - start_cpu)
    return {name: (statistics.median(wall[name]), statistics.median(cpu[name])) for name in contenders}


def show_rates(seconds, folder, baseline):
    """A table of samples a second and of ratios to the baseline."""
    num_bytes = sum(path.stat().st_size for path in folder.glob("*.tar"))
    rows = NUM_SHARDS * SHARD_ROWS
    print(f"\n| | wall, s | CPU, s | samples/s | MB/s | × {baseline}, wall | CPU |\n|---|---|---|---|---|---|---|")
    for name, (wall, cpu) in seconds.items():
        ratios = f"{seconds[baseline][0] / wall:.2f} | {seconds[baseline][1] / cpu:.2f}"
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {rows / wall:,.0f} | {num_bytes / wall / 1e6:,.0f} | {ratios} |")


def measure_rate(folder, rounds, *, with_ray):
    """Our reader and captions pass against `tarfile`, and against Ray's reader."""
    write_pool(folder)
    contenders = {
        "tarfile, all bytes": lambda: plain(folder),
        "our reader, all bytes": lambda: ours(folder),
        "tarfile, seeking, metadata parsed": lambda: plain_captions(folder),
        "our captions pass": lambda: our_captions(folder),
    }
    for run in contenders.values():
        run()
    show_rates(timed(contenders, rounds=rounds), folder, "tarfile, all bytes")
    if with_ray:
        import ray  # noqa: PLC0415

        ray.init(address="local", num_cpus=2, logging_level="ERROR", include_dashboard=False, log_to_driver=False)
        ray.data.DataContext.get_current().enable_progress_bars = False
        contenders = {
            "Ray's read_webdataset": lambda: by_ray(folder),
            "our reader, all bytes": contenders["our reader, all bytes"],
            "our captions pass": contenders["our captions pass"],
        }
        by_ray(folder)
        show_rates(timed(contenders, rounds=rounds), folder, "Ray's read_webdataset")


class _Slow:
    """A file of a store: each request waits, then gets its bytes at so many a second; requests do not share them."""

    def __init__(self, path):
        self._file = pafs.LocalFileSystem().open_input_file(path)

    def size(self):
        return self._file.size()

    def read_at(self, length, offset):
        data = self._file.read_at(length, offset)
        time.sleep(LATENCY_S + len(data) / BYTES_PER_S)
        return data

    def close(self):
        self._file.close()


class SlowStore:
    """Only what `read_ranges` asks of a file system."""

    def open_input_file(self, path):
        return _Slow(path)


def measure_ranges(folder, rounds):
    """Seconds for the kept images of one shard, by the share that is kept and the gap that is read over."""
    write_pool(folder, num_shards=1)
    [path] = folder.glob("*.tar")
    source = WebDatasetSource(PoolConfig(), uri=str(folder))
    [pairs] = source.read_captions(path.name, shard=0, batch_rows=SHARD_ROWS, funnel=Funnel())
    places = list(zip(pairs["image_offset"].to_pylist(), pairs["image_length"].to_pylist(), strict=True))
    stores = {
        "a store with 20 ms and 50 MB/s for each request": (SlowStore(), max(1, rounds // 2)),
        "a local file": (pafs.LocalFileSystem(), rounds * 5),
    }
    print(f"\nOne shard of {path.stat().st_size / 1e6:.1f} MB; the best gap of a share in bold, milliseconds.")
    for name, (filesystem, times) in stores.items():
        print(f"\n{name}:\n\n| kept | {' | '.join(GAPS)} | whole |\n|---|{'---|' * (len(GAPS) + 1)}")
        for share in SHARES:
            kept = sorted(random.Random(1).sample(places, max(1, round(share * len(places)))))
            taken = {gap: read_time(filesystem, path, kept, GAPS[gap], times) for gap in GAPS}
            taken["whole"] = read_time(filesystem, path, kept, path.stat().st_size, times)
            best = min(taken.values())
            cells = [f"**{s * 1e3:,.1f}**" if s == best else f"{s * 1e3:,.1f}" for s in taken.values()]
            print(f"| {share:.0%} | {' | '.join(cells)} |")


def read_time(filesystem, path, places, gap, times):
    """Median seconds of reading the places with this largest gap; a whole read is one of any gap."""
    ranges._MAX_GAP = gap
    offsets, lengths = [offset for offset, _ in places], [length for _, length in places]
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        read_ranges(filesystem, str(path), offsets, lengths)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main():
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "ranges"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-ray", action="store_true")
    arguments = parser.parse_args()
    print(provenance())
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        folder = Path(name)
        if arguments.what == "rate":
            measure_rate(folder, arguments.rounds, with_ray=not arguments.without_ray)
        else:
            measure_ranges(folder, arguments.rounds)


if __name__ == "__main__":
    main()
