"""What other thresholds would do, at the size of a world: counts, a sample, and the CPU seconds of each dial.

python -m tests.benchmarks.whatif
"""

import argparse
import statistics
import tempfile
import time
from collections import defaultdict

import numpy as np
import pyarrow as pa

from metaclip_core.balancing import thresholds
from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.records import SAMPLED
from metaclip_core.whatif import what_if
from pipelines import storage
from pipelines.count import read_counts
from pipelines.samples import read_sample
from tests.benchmarks.measure import provenance

CAPTIONS_PER_PAIR = 2
ENTRIES_PER_CAPTION = 3.5
BATCH_ROWS = 65_536


def world(*, num_entries, num_languages):
    """Counts of a pool whose languages are as unequal as their entries."""
    rng = np.random.default_rng(0)
    size = num_entries // num_languages
    counts = PoolCounts({})
    for place in range(num_languages):
        language = "en" if place == 0 else f"l{place:03d}"
        matches = (4e9 / (place + 1) / np.arange(1, size + 1) ** 1.1).astype(np.int64)
        counts.matches[language] = rng.permutation(matches)
        captions = int(matches.sum() / ENTRIES_PER_CAPTION)
        counts.sums[Measure.CAPTIONS, language] = 2 * captions
        counts.sums[Measure.MATCHED_CAPTIONS, language] = captions
        counts.sums[Measure.MATCHED_PAIRS, ""] += captions
    counts.sums[Measure.PAIRS, ""] = 2 * counts.sums[Measure.MATCHED_PAIRS, ""]
    return counts


def sample_of(counts, *, num_pairs):
    """Tables of a sample: each caption of a language by its share, mentioning entries by chance."""
    rng = np.random.default_rng(1)
    languages = list(counts.matches)
    sizes = np.array([len(matches) for matches in counts.matches.values()])
    shares = np.sqrt([counts.sums[Measure.CAPTIONS, language] for language in languages])
    dictionary = pa.array(languages)
    for first in range(0, num_pairs, BATCH_ROWS):
        rows = min(BATCH_ROWS, num_pairs - first)
        captions = rows * CAPTIONS_PER_PAIR
        language = rng.choice(len(languages), captions, p=shares / shares.sum())
        mentioned = rng.poisson(ENTRIES_PER_CAPTION, captions)
        ids = (rng.random(mentioned.sum()) * np.repeat(sizes[language], mentioned)).astype(np.int32)
        entry_ids = pa.ListArray.from_arrays(np.concatenate([[0], np.cumsum(mentioned)]).astype(np.int32), ids)
        text = pa.array(["a caption of the length that captions on the web have on average, and"] * captions)
        fields = [text, text, dictionary.take(pa.array(language)), pa.array(np.ones(captions, np.float32)), entry_ids]
        column = pa.ListArray.from_arrays(
            np.arange(0, captions + 1, CAPTIONS_PER_PAIR, dtype=np.int32),
            pa.StructArray.from_arrays(fields, fields=list(SAMPLED.field("captions").type.value_type)),
        )
        yield pa.table({"captions": column, "inclusion": rng.uniform(1e-4, 1, rows)})


def store(counts, sample, folder):
    """Write what a curation leaves behind, as far as it is read here; the URI of the sample."""
    columns = {"language": [], "count": []}
    for language, matches in sorted(counts.matches.items()):
        columns["language"].append(pa.repeat(language, len(matches)))
        columns["count"].append(pa.array(matches))
    storage.write_table(
        storage.join(folder, "counts.parquet"), pa.table({k: pa.chunked_array(v) for k, v in columns.items()})
    )
    sums = [{"measure": measure, "language": language, "count": n} for (measure, language), n in counts.sums.items()]
    storage.write_table(storage.join(folder, "sums.parquet"), pa.Table.from_pylist(sums))
    uri = storage.join(folder, "sample.parquet")
    storage.write_table(uri, pa.concat_tables(sample))
    return uri


def main():
    """Print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=27_000_000)
    parser.add_argument("--languages", type=int, default=300)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(provenance())
    counts = world(num_entries=arguments.entries, num_languages=arguments.languages)
    seconds = defaultdict(list)

    def timed(name, run, *args, **kwargs):
        start = time.process_time()
        result = run(*args, **kwargs)
        seconds[name].append(time.process_time() - start)
        return result

    with tempfile.TemporaryDirectory() as folder:
        uri = store(counts, sample_of(counts, num_pairs=arguments.pairs), folder)
        for _ in range(arguments.rounds):
            counts = timed("once: counts read", read_counts, folder)
            t = timed("each dial: thresholds", thresholds, counts.matches, p=0.06).t
            timed("each dial: exact columns", what_if, counts, t, [])
            sample = read_sample(uri, columns=["captions", "inclusion"])  # lazy: what_if reads it
            timed("each dial: exact columns and pairs, the sample read", what_if, counts, t, sample)
    print("| | CPU s, median |\n|---|---|")
    for name, taken in seconds.items():
        print(f"| {name} | {statistics.median(taken):.2f} |")


if __name__ == "__main__":
    main()
