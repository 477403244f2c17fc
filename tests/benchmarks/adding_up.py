"""Peak memory of adding up the counts of a language and ranking them, on 1 ×, 4 × and 16 × as many different bigrams.

    python -m tests.benchmarks.adding_up

writes synthetic runs, each key in two of them, and adds them up in a process of its own.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metaclip_core.metadata.ngrams import (
    BIGRAM_COUNTS,
    UNIGRAM_COUNTS,
    BigramRanking,
    bigram_entries,
    totals,
    unigram_entries,
)
from tests.benchmarks.measure import peak_mb, provenance

RUN_ROWS = 400_000
BIGRAMS_PER_WORD = 10
CAP = 100_000
_LETTERS = np.frombuffer(b"etaoinshrdlcumwf", np.uint8)


def words(ids):
    """A word for each id, of 7 letters, or of 20, which DuckDB keeps elsewhere."""
    hashes = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    letters = _LETTERS[(hashes[:, None] >> np.arange(4, 60, 8, dtype=np.uint64)) & np.uint64(15)]
    short = np.ascontiguousarray(letters).view(f"S{letters.shape[1]}").ravel()
    return pa.array(np.where(ids % 3 == 0, np.char.add(short, b"-internationa"), short)).cast(pa.string())


def write_runs(folder, *, num_bigrams):
    """Runs of `num_bigrams` different bigrams of a tenth as many words."""
    generator = np.random.default_rng(0)
    num_words = num_bigrams // BIGRAMS_PER_WORD
    for number, start in enumerate(range(0, 2 * num_bigrams, RUN_ROWS)):
        rows = np.arange(start, min(start + RUN_ROWS, 2 * num_bigrams))
        ids = rows * 2_654_435_761 % num_bigrams  # odd and prime: every bigram twice, neighbours far apart
        firsts, seconds = ids % num_words, (ids * 7_919 + ids // num_words) % num_words
        counts = generator.zipf(1.7, len(ids)).clip(max=10**6)
        bigrams = pa.table([words(firsts), words(seconds), counts], schema=BIGRAM_COUNTS)
        pq.write_table(bigrams, folder / f"bigrams-{number:05d}.parquet", compression="zstd", row_group_size=1 << 16)
        sums = np.bincount(firsts, counts, num_words) + np.bincount(seconds, counts, num_words)
        found = np.flatnonzero(sums)
        unigrams = pa.table([words(found), sums[found].astype(np.int64)], schema=UNIGRAM_COUNTS)
        pq.write_table(unigrams, folder / f"unigrams-{number:05d}.parquet", compression="zstd", row_group_size=1 << 16)


def add_up(folder, *, memory_mb):
    """In a process of its own: its peak memory in MiB, and CPU seconds."""
    start = time.process_time()
    with tempfile.TemporaryDirectory() as scratch:
        runs = [str(path) for path in folder.iterdir()]
        with totals(fs.LocalFileSystem(), runs, scratch=scratch, memory_bytes=memory_mb << 20) as summed:
            [(num_bigrams,)] = summed.connection.sql("SELECT count(*) FROM bigrams").fetchall()
            unigram_entries(summed, top_share=1.0, max_entries=CAP, min_count=2)
            bigram_entries(summed, "en", ranking=BigramRanking.WEIGHTED, pmi_min=0, max_entries=CAP, min_count=2)
    return {"num_bigrams": num_bigrams, "peak_mb": peak_mb(), "cpu_s": time.process_time() - start}


def main():
    """Print a row for each size of the input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--distinct", type=int, default=2_000_000, help="bigrams of 1 ×")
    parser.add_argument("--memory-mb", type=int, default=128, help="DuckDB's")
    parser.add_argument("--alone", type=Path, help="the runs to add up, for the process that is measured")
    arguments = parser.parse_args()
    if arguments.alone:
        print(json.dumps(add_up(arguments.alone, memory_mb=arguments.memory_mb)))
        return
    print(provenance())
    print("| input | runs, MB | different bigrams | adding up and ranking, peak MiB | CPU s |\n|---|---|---|---|---|")
    for factor in (1, 4, 16):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_runs(folder, num_bigrams=factor * arguments.distinct)
            runs_mb = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
            command = [sys.executable, "-m", "tests.benchmarks.adding_up", "--alone", name]
            command += ["--memory-mb", str(arguments.memory_mb)]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        figures = [f"{found['num_bigrams']:,}", *(f"{found[key]:.0f}" for key in ("peak_mb", "cpu_s"))]
        print(" | ".join([f"| {factor} ×", f"{runs_mb:.0f}", *figures]), "|", flush=True)


if __name__ == "__main__":
    main()
