"""The curate job on two cores: its rate against two plain processes that call its functions, and its memory.

python -m tests.benchmarks.curate rate      # a quarter of an hour on two free cores
python -m tests.benchmarks.curate memory    # 27 million entries in 300 languages; a pool, and one ten times larger
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from metaclip_core.languages import languages, metadata_language
from metaclip_core.metadata.store import ENTRIES, write_metadata
from pipelines import storage
from tests.benchmarks import corpus
from tests.benchmarks.measure import Watch, provenance

NUM_DISTINCT = 100_000  # captions; shards are made of them by chance
ENGLISH_SHARE = 0.43
WORLD_LANGUAGES, WORLD_ENTRIES = 300, 90_000
SMALL, LARGE = 100, 1_000  # shards of the pools whose memory is compared


def spoken():
    """Metadata language → real language, of those with words."""
    return {metadata_language(language, namespace="wordfreq"): language for language in corpus.real_languages()}


def mixed_captions(num_captions):
    """Captions: English, and the other languages by rank."""
    others = [language for language in spoken().values() if language != "en"]
    weights = np.array([1 / rank for rank in range(1, len(others) + 1)])
    numbers = ((1 - ENGLISH_SHARE) * num_captions * weights / weights.sum()).astype(int)
    texts = corpus.captions("en", int(ENGLISH_SHARE * num_captions))
    for seed, (language, number) in enumerate(zip(others, numbers.tolist(), strict=True)):
        texts += corpus.captions(language, number, seed=seed)
    random.Random(0).shuffle(texts)
    return pa.array(texts)


def write_pool(folder, texts, *, num_shards, shard_rows):
    """Shards of one caption a pair; a hundredth of the pairs is there twice."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    image = rng.bytes(256)  # nothing reads it
    for shard in range(num_shards):
        numbers = np.arange(shard * shard_rows, (shard + 1) * shard_rows)
        numbers[::100] //= 2
        table = {
            "url": [f"https://images.example/{number:012}.jpg" for number in numbers],
            "captions": texts.take(pa.array(rng.integers(0, len(texts), shard_rows))),
            "image": [image] * shard_rows,
        }
        pq.write_table(pa.table(table), folder / f"{shard:05}.parquet", row_group_size=1_000)


def real_metadata():
    """Up to 500,000 entries in English, up to 100,000 in each other language that has words."""
    return {
        name: entries_table(corpus.entries(language, 500_000 if language == "en" else 100_000))
        for name, language in spoken().items()
    }


def world_metadata():
    """As many entries in each of 300 languages; words where there are some, codes for the rest."""
    real = spoken()
    names = [*real, *(sorted(languages() - real.keys()))][:WORLD_LANGUAGES]
    tables = {}
    for name in names:
        entries = corpus.entries(real[name], WORLD_ENTRIES) if name in real else []
        codes = pa.array(np.arange(WORLD_ENTRIES - len(entries))).cast(pa.string())
        made = pc.binary_join_element_wise(pa.scalar(f"entry of {name}"), codes, " ")
        tables[name] = entries_table(pa.concat_arrays([pa.array(entries, pa.string()), made]))
    return tables


def entries_table(entries):
    return pa.table([entries, pa.repeat("bench", len(entries)), np.zeros(len(entries))], schema=ENTRIES)


def write_metadata_of(root, tables):
    """Metadata named as the recipe of `curate_runs` names them; returns the number of entries."""
    layout, num_entries = storage.Layout(str(root)), sum(table.num_rows for table in tables.values())
    version = f"bench-{num_entries}"  # automata are kept by version
    write_metadata(pafs.LocalFileSystem(), layout.metadata(version), tables, provenance={})
    storage.write_json(layout.metadata_name("bench"), {"version": version})
    return num_entries


def run_apart(which, folder, metadata_root, *, memory=False):
    """One contender in a process of its own, with a root of its own: what it says, and what was seen of it."""
    with tempfile.TemporaryDirectory(prefix="metaclip-") as root:
        (Path(root) / "metadata").symlink_to(metadata_root / "metadata")
        command = [sys.executable, "-m", "tests.benchmarks.curate_runs", which]
        command += ["--folder", str(folder), "--root", root]
        # Ray's workers are nice to others by default; on a busy machine that would be a handicap
        environment = {**os.environ, "RAY_worker_niceness": "0"}
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            watch = Watch(process.pid, memory=memory)
            said, _ = process.communicate()
        if process.returncode:
            raise SystemExit(f"{which} failed")
        found = json.loads(said)
        counts = (Path(found["counts_uri"]) / "counts.parquet").read_bytes()
    return {**found, "whole_s": time.perf_counter() - start, "watch": watch.end(), "counts": counts}


def measure_rate(folder, num_shards, shard_rows, rounds):
    """Captions a second of both, a round after a round."""
    texts = mixed_captions(NUM_DISTINCT)
    write_pool(folder / "pool", texts, num_shards=num_shards, shard_rows=shard_rows)
    write_pool(folder / "warm", texts, num_shards=4, shard_rows=shard_rows)
    num_entries = write_metadata_of(folder, real_metadata())
    run_apart("plain", folder / "warm", folder)  # leaves the automata
    rows = num_shards * shard_rows
    found = {"plain": [], "job": []}
    for _ in range(rounds):
        for which, runs in found.items():
            runs.append(run_apart(which, folder / "pool", folder))
        assert len({runs[-1]["counts"] for runs in found.values()}) == 1
    print(
        f"{rows:,} captions in {num_shards} shards, {num_entries:,} entries; medians of {rounds} interleaved rounds\n"
    )
    print("| | two plain processes | the job | ratio of rates, each round's median |\n|---|---|---|---|")
    for name, seconds in (
        ("whole, s", lambda run: run["whole_s"]),
        ("until the first shard was done, s", lambda run: run["first_shard_s"]),
        ("from there to the end, s", lambda run: run["done_s"] - run["first_shard_s"]),
        ("CPU of all processes, s", lambda run: run["watch"].cpu_s),
    ):
        plain, job = ([seconds(run) for run in runs] for runs in found.values())
        ratio = statistics.median(one / other for one, other in zip(plain, job, strict=True))
        print(f"| {name} | {statistics.median(plain):.1f} | {statistics.median(job):.1f} | {ratio:.2f} |")
    print("\n| process of the job | CPU s, last round |\n|---|---|")
    for name, seconds in found["job"][-1]["watch"].cpu_by_name()[:12]:
        print(f"| `{name}` | {seconds:.1f} |")


def measure_memory(folder, shard_rows):
    """Peak memory of driver and workers, of a pool and of one ten times larger."""
    texts = mixed_captions(NUM_DISTINCT // 5)
    num_entries = write_metadata_of(folder, world_metadata())
    print(f"{num_entries:,} entries in {WORLD_LANGUAGES} languages; peaks of proportional memory, MiB\n")
    peaks = {}
    for num_shards in (SMALL, LARGE):
        pool = folder / f"pool-{num_shards}"
        write_pool(pool, texts, num_shards=num_shards, shard_rows=shard_rows)
        if not peaks:
            run_apart("plain", pool, folder)  # leaves the automata
        peaks[num_shards] = run_apart("job", pool, folder, memory=True)["watch"].peaks_by_name()
    print(f"| process | {SMALL * shard_rows:,} captions | {LARGE * shard_rows:,} captions | × |\n|---|---|---|---|")
    for name, peak in peaks[LARGE].items():
        small = peaks[SMALL].get(name, 0)
        print(f"| `{name}` | {small / 2**20:,.0f} | {peak / 2**20:,.0f} | {peak / small if small else 0:.2f} |")


def main():
    """Run one of the measurements."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["rate", "memory"])
    parser.add_argument("--shards", type=int, default=200, help="of the pool whose rate is measured")
    parser.add_argument("--shard-rows", type=int, help="default: 10,000; for memory 1,000")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(provenance())
    with tempfile.TemporaryDirectory(prefix="metaclip-") as name:
        if arguments.what == "rate":
            measure_rate(Path(name), arguments.shards, arguments.shard_rows or 10_000, arguments.rounds)
        else:
            measure_memory(Path(name), arguments.shard_rows or 1_000)


if __name__ == "__main__":
    main()
