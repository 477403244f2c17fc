"""Block lists against a plain loop, and what a list of a million domains costs.

python -m tests.benchmarks.blocklists
"""

import argparse
import random
import time
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow as pa

from metaclip_core.blocklists import find_listed, parse_lists
from tests.benchmarks.measure import interleaved, provenance

NUM_DOMAINS, NUM_PAIRS, NUM_COMPARED = 1_000_000, 5_000_000, 200_000
NUM_HOSTS, LISTED_HOSTS = 600_000, 0.02
SHARD_ROWS = 10_000
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def named(rng):
    return "".join(rng.choices(LETTERS, k=9)) + rng.choice([".com", ".net", ".org", ".co.example"])


def made_pairs(rng, domains, number):
    """Pairs of hosts that are as unequal as the web's."""
    hosts = [
        rng.choice(["", "img.", "cdn.", "www.static."])
        + (rng.choice(domains) if rng.random() < LISTED_HOSTS else named(rng))
        for _ in range(NUM_HOSTS)
    ]
    chosen = np.random.default_rng(0).zipf(1.2, number) % NUM_HOSTS
    urls = [
        f"https://{hosts[host]}/{2000 + row % 25}/photo-{row}.jpg?w=640" for row, host in enumerate(chosen.tolist())
    ]
    return pa.table({"pair_id": [f"{row:024x}" for row in range(number)], "url": urls})


def plain(pairs, domains):
    """The obvious loop: a URL, its host, the domains above it."""
    listed = 0
    for url in pairs["url"].to_pylist():
        host = urlsplit(url).hostname or ""
        while host and host not in domains:
            host = host.partition(".")[2]
        listed += bool(host)
    return listed


def ours(pairs, block_list):
    """Shard by shard, as the step does."""
    shards = (pairs.slice(start, SHARD_ROWS) for start in range(0, pairs.num_rows, SHARD_ROWS))
    return sum(find_listed(shard, block_list).true_count for shard in shards)


def main():
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(provenance())
    rng = random.Random(0)
    domains = [named(rng) for _ in range(NUM_DOMAINS)]
    data = "\n".join(domains).encode()
    memory, start = psutil.Process().memory_info().rss, time.process_time()
    block_list = parse_lists({"list": data})
    taken, held = time.process_time() - start, psutil.Process().memory_info().rss - memory
    print(
        f"{len(block_list.domains):,} domains: parsed in {taken:.1f} s of CPU, {held / 2**20:.0f} MiB more resident\n"
    )
    pairs = made_pairs(rng, domains, NUM_PAIRS)
    part = pairs.slice(0, NUM_COMPARED)
    assert plain(part, block_list.domains) == ours(part, block_list)
    contenders = {
        "plain loop": lambda: plain(part, block_list.domains),
        "ours, shards of 10,000": lambda: ours(part, block_list),
    }
    seconds, ratios = interleaved(contenders, rounds=rounds)
    print("| | CPU, s | pairs/s | × plain loop |\n|---|---|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {taken:.2f} | {NUM_COMPARED / taken:,.0f} | {ratios[name]:.2f} |")
    start = time.process_time()
    listed = ours(pairs, block_list)
    taken = time.process_time() - start
    print(f"\nall {NUM_PAIRS:,} pairs: {taken:.1f} s of CPU, {NUM_PAIRS / taken:,.0f} pairs/s, {listed:,} listed")


if __name__ == "__main__":
    main()
