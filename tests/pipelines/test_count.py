from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from metaclip_core.counting import Measure, PoolCounts
from metaclip_core.metadata.store import ENTRIES, write_metadata
from pipelines import storage
from pipelines.count import read_counts, write_counts

SIZES = {"de": 70_000, "en": 200_000, "fr": 0, "ja": 1, "zh": 65_536}  # less and more than is read at once


def test_counts_that_are_written_are_read_again(tmp_path):
    rng = np.random.default_rng(0)
    names = {language: [f"{language} {number}" for number in range(size)] for language, size in SIZES.items()}
    tables = {
        language: pa.table([entries, ["x"] * len(entries), [0.0] * len(entries)], schema=ENTRIES)
        for language, entries in names.items()
    }
    write_metadata(pafs.LocalFileSystem(), str(tmp_path / "metadata"), tables, provenance={})
    pool = PoolCounts(
        {language: rng.integers(0, 2**40, size) for language, size in SIZES.items()},
        Counter({(Measure.PAIRS, ""): 7, (Measure.CAPTIONS, "de"): 2**40}),
    )
    write_counts(pool, counts_uri=str(tmp_path / "counts"), metadata_uri=str(tmp_path / "metadata"))
    table = storage.read_table(str(tmp_path / "counts" / "counts.parquet"))
    assert table["entry"].to_pylist() == [entry for entries in names.values() for entry in entries]
    found = read_counts(str(tmp_path / "counts"))
    assert found.sums == pool.sums
    assert list(found.matches) == ["de", "en", "ja", "zh"]
    for language, counts in found.matches.items():
        assert counts.dtype == np.int64
        assert np.array_equal(counts, pool.matches[language])
