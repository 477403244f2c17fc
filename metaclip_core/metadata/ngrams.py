"""Unigrams and bigrams of a language with exact counts, and the best of them: memory does not grow with the text.

Counting goes slice by slice: a counter with a bounded number of keys is written out as a run whenever it is full.
DuckDB adds up the runs of a language, out of core, in a database on disk. Nothing rare is thrown away before the sum is
known, so the counts are the same however the text was split and how often the counters were full.

A bigram's pointwise mutual information, in bits, is

    PMI = log2( c(ab) · N / (c(a) · c(b)) ),   N = the number of words of the language, all of them

and at most log2 N: a Wikipedia of less than 2^30 = 1.07 billion words has no bigram above 30 bits, whatever it is
about. A recipe for many languages needs the weighted ranking, or a lower bound. Scores are rounded to 1e-6, so that the
last bits of a machine's logarithm neither show nor decide a tie.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metaclip_core.metadata.ranking import BigramRanking
from metaclip_core.metadata.segmentation import separator
from metaclip_core.records import check

UNIGRAM_COUNTS = pa.schema([("word", pa.string()), ("count", pa.int64())])
BIGRAM_COUNTS = pa.schema([("first", pa.string()), ("second", pa.string()), ("count", pa.int64())])
NGRAMS = pa.schema([("entry", pa.string()), ("score", pa.float64()), ("count", pa.int64())])

_UNIGRAMS, _BIGRAMS = "unigrams", "bigrams"
_RUN_ROWS = 1 << 16  # of a row group, which is what reading holds


_WEIGHT_EXPONENT = 0.7
_WEIGHT_QUANTILE = 0.3


def write_runs(phrases: Iterable[list[str]], filesystem: fs.FileSystem, path: str, *, max_distinct: int) -> int:
    """Count the words and bigrams of `phrases` into the folder `path`, which is emptied first. Returns the words.

    Args:
        phrases: words that are neighbours; a bigram never goes from one to the next.
        filesystem: holds `path`.
        path: of a folder that only this call writes to: `unigrams-<n>.parquet`, `bigrams-<n>.parquet`.
        max_distinct: keys held at once, some 200 bytes each; more bigrams of a phrase come on top.
    """
    filesystem.create_dir(path, recursive=True)
    filesystem.delete_dir_contents(path)
    unigrams: Counter[str] = Counter()
    bigrams: Counter[tuple[str, str]] = Counter()
    num_words = num_runs = 0
    for phrase in phrases:
        num_words += len(phrase)
        unigrams.update(phrase)
        bigrams.update(pairwise(phrase))
        if len(unigrams) + len(bigrams) >= max_distinct:
            _write_run(unigrams, bigrams, filesystem, path, number=num_runs)
            num_runs += 1
    _write_run(unigrams, bigrams, filesystem, path, number=num_runs)
    return num_words


def _write_run(
    unigrams: Counter[str], bigrams: Counter[tuple[str, str]], filesystem: fs.FileSystem, path: str, *, number: int
) -> None:
    """Write both counters and empty them."""
    words = pa.table([list(unigrams), list(unigrams.values())], schema=UNIGRAM_COUNTS)
    unigrams.clear()
    firsts, seconds = ([pair[side] for pair in bigrams] for side in (0, 1))
    pairs = pa.table([firsts, seconds, list(bigrams.values())], schema=BIGRAM_COUNTS)
    bigrams.clear()
    for kind, table in ((_UNIGRAMS, words), (_BIGRAMS, pairs)):
        name = f"{path}/{kind}-{number:05d}.parquet"
        pq.write_table(table, name, filesystem=filesystem, compression="zstd", row_group_size=_RUN_ROWS)


@contextmanager
def totals(
    filesystem: fs.FileSystem, folders: Iterable[str], *, scratch: str, memory_bytes: int
) -> Iterator[duckdb.DuckDBPyConnection]:
    """The summed runs of `folders`, as a database for `unigram_entries` and `bigram_entries`.

    Args:
        filesystem: holds `folders`.
        folders: of `write_runs`, all those of one language.
        scratch: an empty folder of this machine, for the database and what does not fit in memory: up to a few times
            the runs.
        memory_bytes: for DuckDB; some hundred megabytes come on top.

    Raises:
        SchemaError: a file is no run.
        duckdb.Error: a run cannot be read to its end (the message quotes the store's), or `scratch` is full.
    """
    runs = [file.path for folder in folders for file in filesystem.get_file_info(fs.FileSelector(folder))]
    config: dict[str, str | bool | int | float | list[str]] = {
        "threads": 1,
        "memory_limit": f"{memory_bytes}B",
        "temp_directory": f"{scratch}/spill",
    }
    with duckdb.connect(f"{scratch}/totals.duckdb", config=config) as connection:
        connection.execute("SET preserve_insertion_order = false")
        for kind, schema in ((_UNIGRAMS, UNIGRAM_COUNTS), (_BIGRAMS, BIGRAM_COUNTS)):
            paths = sorted(path for path in runs if path.rpartition("/")[2].startswith(f"{kind}-"))
            for path in paths:
                check(pq.read_schema(path, filesystem=filesystem).empty_table(), schema, stage=path)
            connection.register("runs", pa.RecordBatchReader.from_batches(schema, _batches(filesystem, paths, schema)))
            keys = ", ".join(schema.names[:-1])
            connection.execute(
                f"CREATE TABLE {kind} AS SELECT {keys}, sum(count)::BIGINT AS count FROM runs GROUP BY {keys}"  # noqa: S608  our names
            )
            connection.unregister("runs")
        yield connection


def _batches(filesystem: fs.FileSystem, paths: list[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with filesystem.open_input_file(path) as file:
            run = pq.ParquetFile(file)
            for number in range(run.num_row_groups):
                yield from run.read_row_group(number, columns=schema.names).to_batches()


def unigram_entries(
    connection: duckdb.DuckDBPyConnection, *, top_share: float, max_entries: int, min_count: int
) -> pa.Table:
    """The most frequent words: NGRAMS, by count, ties by entry; the score is the count.

    They are the first `top_share` of all distinct words, rounded up, at most `max_entries`; then those with at least
    `min_count`.
    """
    num_distinct = _number(connection, "SELECT count(*) FROM unigrams")
    num_entries = min(max_entries, math.ceil(Fraction(str(top_share)) * num_distinct))
    found = _rows(
        connection,
        "SELECT word AS entry, count::DOUBLE AS score, count FROM unigrams WHERE count >= $min_count "
        "ORDER BY count DESC, entry LIMIT $num_entries",
        min_count=min_count,
        num_entries=num_entries,
    )
    return check(found, NGRAMS, stage="unigrams")


def bigram_entries(
    connection: duckdb.DuckDBPyConnection,
    language: str,
    *,
    ranking: BigramRanking,
    pmi_min: float,
    max_entries: int,
    min_count: int,
) -> pa.Table:
    """The best bigrams with at least `min_count`: NGRAMS, by score, ties by entry.

    Where two pairs of words make one entry (東京|都 and 東|京都), its score is the better one and its count the sum.

    Args:
        connection: of `totals`.
        language: what the words of a bigram are joined by follows from it.
        ranking: PMI takes those with PMI > `pmi_min`, the score is the PMI. WEIGHTED takes those with a score > 0; its
            PMI_30% is the smallest PMI that at least 30 % of the language's bigrams with `min_count` do not exceed.
        pmi_min: in bits; for PMI only.
        max_entries: the number of bigrams at most.
        min_count: a bigram's, in the whole language.
    """
    num_words = _number(connection, "SELECT coalesce(sum(count), 0)::BIGINT FROM unigrams")
    connection.execute(
        """
        CREATE OR REPLACE TABLE scored AS
        SELECT first || $separator || second AS entry, pair.count AS count,
            round(log2(pair.count::DOUBLE * $num_words / (a.count::DOUBLE * b.count::DOUBLE)), 6) AS pmi
        FROM bigrams pair JOIN unigrams a ON a.word = pair.first JOIN unigrams b ON b.word = pair.second
        WHERE pair.count >= $min_count
        """,
        {"separator": separator(language), "num_words": float(num_words), "min_count": min_count},
    )
    base = _pmi_quantile(connection) if ranking is BigramRanking.WEIGHTED else 0.0
    found = _rows(
        connection,
        """
        SELECT entry, max(score) AS score, sum(count)::BIGINT AS count
        FROM (
            SELECT entry, count, round(power(count + 1, $exponent) * (pmi - $base), 6) AS score FROM scored
        )
        GROUP BY entry HAVING max(score) > $score_min ORDER BY score DESC, entry LIMIT $max_entries
        """,
        exponent=_WEIGHT_EXPONENT if ranking is BigramRanking.WEIGHTED else 0.0,
        base=base,
        score_min=0.0 if ranking is BigramRanking.WEIGHTED else pmi_min,
        max_entries=max_entries,
    )
    return check(found, NGRAMS, stage="bigrams")


def _pmi_quantile(connection: duckdb.DuckDBPyConnection) -> float:
    """PMI_30% of the scored bigrams, 0 where there are none. Sorted: a quantile would hold all in memory."""
    num_bigrams = _number(connection, "SELECT count(*) FROM scored")
    rank = max(math.ceil(Fraction(str(_WEIGHT_QUANTILE)) * num_bigrams), 1)
    found = _rows(connection, "SELECT pmi FROM scored ORDER BY pmi LIMIT 1 OFFSET $skip", skip=rank - 1)
    return float(found["pmi"][0].as_py()) if found.num_rows else 0.0


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(_rows(connection, query)[0][0].as_py())


def _rows(connection: duckdb.DuckDBPyConnection, query: str, **parameters: float) -> pa.Table:
    return connection.sql(query, params=parameters).to_arrow_table()
