"""Counting dumps on two cores by Ray Data, against one plain process that calls the same function: efficiency.

python -m tests.benchmarks.metadata_build
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import pyarrow as pa

from metaclip_core.funnel import Funnel
from pipelines.cluster import connected
from pipelines.config import build_config
from pipelines.metadata_counts import CountKind, apply_count, count_batch
from pipelines.metadata_sources import plan
from tests.benchmarks.measure import provenance
from tests.benchmarks.wikipedia import write_dump


def timed(run):
    """Wall seconds of a call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    """Print the efficiency on two cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--articles", type=int, default=400, help="in each of 8 dumps")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    print(provenance())
    with tempfile.TemporaryDirectory() as scratch:
        dumps = Path(scratch) / "dumps"
        dumps.mkdir()
        for part in range(8):
            name = f"enwiki-20240501-pages-articles{part + 1}.xml-p{part + 1}p{part + 1}.bz2"
            write_dump(dumps / name, "en", num_articles=arguments.articles, seed=part)
        recipe = {
            "root": str(Path(scratch) / "root"),
            "metadata": {"build": {"wikipedia": {"uri": str(dumps)}}},
            "compute": {"local_cpus": 2, "timeout_s": 600},
        }
        config = build_config(recipe)
        items = plan(config, str(dumps), CountKind.NGRAMS, funnel=Funnel())
        table = pa.Table.from_pylist([{**vars(item), "kind": str(item.kind)} for item in items])
        with connected(config.compute):
            list(apply_count(items, config).iter_rows())  # starts the workers
            rounds = []
            for _ in range(arguments.rounds):
                plain = timed(lambda: count_batch(table, build=config.metadata.build))
                spread = timed(lambda: list(apply_count(items, config).iter_rows()))
                rounds.append(plain / (2 * spread))
                print(f"one plain process {plain:.1f} s, Ray Data on two cores {spread:.1f} s: {rounds[-1]:.2f}")
    print(f"\nefficiency on two cores, median: {statistics.median(rounds):.2f}")


if __name__ == "__main__":
    main()
