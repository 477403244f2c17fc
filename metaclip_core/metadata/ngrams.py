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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from metaclip_core.metadata.parts import Database, database, execute_by_parts
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


@dataclass(frozen=True, kw_only=True)
class Runs:
    """What was counted."""

    names: list[str]  # of files
    num_words: int


def write_runs(phrases: Iterable[list[str]], filesystem: fs.FileSystem, path: str, *, max_distinct: int) -> Runs:
    """Count the words and bigrams of `phrases` into the folder `path`, which is emptied first.

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
    names: list[str] = []
    num_words = 0
    for phrase in phrases:
        num_words += len(phrase)
        unigrams.update(phrase)
        bigrams.update(pairwise(phrase))
        if len(unigrams) + len(bigrams) >= max_distinct:
            names += _write_run(unigrams, bigrams, filesystem, path, number=len(names) // 2)
    names += _write_run(unigrams, bigrams, filesystem, path, number=len(names) // 2)
    return Runs(names=names, num_words=num_words)


def _write_run(
    unigrams: Counter[str], bigrams: Counter[tuple[str, str]], filesystem: fs.FileSystem, path: str, *, number: int
) -> list[str]:
    """Write both counters and empty them. Returns the names of their files."""
    words = pa.table([list(unigrams), list(unigrams.values())], schema=UNIGRAM_COUNTS)
    unigrams.clear()
    firsts, seconds = ([pair[side] for pair in bigrams] for side in (0, 1))
    pairs = pa.table([firsts, seconds, list(bigrams.values())], schema=BIGRAM_COUNTS)
    bigrams.clear()
    names = [f"{kind}-{number:05d}.parquet" for kind in (_UNIGRAMS, _BIGRAMS)]
    for name, table in zip(names, (words, pairs), strict=True):
        pq.write_table(table, f"{path}/{name}", filesystem=filesystem, compression="zstd", row_group_size=_RUN_ROWS)
    return names


@contextmanager
def totals(filesystem: fs.FileSystem, runs: Sequence[str], *, scratch: str, memory_bytes: int) -> Iterator[Database]:
    """The summed runs of a language, as a database for `unigram_entries` and `bigram_entries`.

    Args:
        filesystem: holds `runs`.
        runs: paths of all runs of `write_runs`.
        scratch: an empty folder of this machine, for the database and what does not fit in memory: up to a few times
            the runs.
        memory_bytes: for DuckDB; some hundred megabytes come on top.

    Raises:
        SchemaError: a file is no run.
        OSError: the store failed.
        duckdb.Error: `scratch` is full.
    """
    with database(scratch, memory_bytes=memory_bytes) as summed:
        for kind, schema in ((_UNIGRAMS, UNIGRAM_COUNTS), (_BIGRAMS, BIGRAM_COUNTS)):
            keys = schema.names[:-1]
            columns = ", ".join(keys)
            summed.connection.execute(f"CREATE TABLE {kind} ({' VARCHAR, '.join(keys)} VARCHAR, count BIGINT)")
            execute_by_parts(
                summed,
                f"INSERT INTO {kind} SELECT {columns}, sum(count) FROM part GROUP BY {columns}",  # noqa: S608  our names
                _batches(filesystem, [run for run in runs if run.rpartition("/")[2].startswith(f"{kind}-")], schema),
                keys=keys,
                schema=schema,
            )
        yield summed


def _batches(filesystem: fs.FileSystem, runs: Iterable[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    for path in sorted(runs):
        with filesystem.open_input_file(path) as file:
            run = pq.ParquetFile(file)
            check(run.schema_arrow.empty_table(), schema, stage=path)
            for number in range(run.num_row_groups):
                yield from run.read_row_group(number, columns=schema.names).to_batches()


def unigram_entries(summed: Database, *, top_share: float, max_entries: int, min_count: int) -> pa.Table:
    """The most frequent words: NGRAMS, by count, ties by entry; the score is the count.

    They are the first `top_share` of all distinct words, rounded up, at most `max_entries`; then those with at least
    `min_count`.
    """
    num_distinct = _number(summed, "SELECT count(*) FROM unigrams")
    num_entries = min(max_entries, math.ceil(Fraction(str(top_share)) * num_distinct))
    found = _rows(
        summed,
        "SELECT word AS entry, count::DOUBLE AS score, count FROM unigrams WHERE count >= $min_count "
        "ORDER BY count DESC, entry LIMIT $num_entries",
        min_count=min_count,
        num_entries=num_entries,
    )
    return check(found, NGRAMS, stage="unigrams")


def bigram_entries(
    summed: Database,
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
        summed: by `totals`.
        language: what the words of a bigram are joined by follows from it.
        ranking: PMI takes those with PMI > `pmi_min`, the score is the PMI. WEIGHTED takes those with a score > 0; its
            PMI_30% is the smallest PMI that at least 30 % of the language's bigrams with `min_count` do not exceed.
        pmi_min: in bits; for PMI only.
        max_entries: the number of bigrams at most.
        min_count: a bigram's, in the whole language.
    """
    _score(summed, language, min_count=min_count)
    is_weighted = ranking is BigramRanking.WEIGHTED
    scores = summed.connection.cursor().sql(
        "SELECT entry, round(power(count + 1, $exponent) * (pmi - $base), 6) AS score, count FROM scored",
        params={
            "exponent": _WEIGHT_EXPONENT if is_weighted else 0.0,
            "base": _pmi_quantile(summed) if is_weighted else 0.0,
        },
    )
    summed.connection.execute("CREATE OR REPLACE TABLE entries (entry VARCHAR, score DOUBLE, count BIGINT)")
    execute_by_parts(
        summed,
        "INSERT INTO entries SELECT entry, max(score), sum(count) FROM part GROUP BY entry HAVING max(score) > $bound",
        scores.to_arrow_reader(_RUN_ROWS),
        keys=["entry"],
        schema=NGRAMS,
        bound=0.0 if is_weighted else pmi_min,
    )
    best = "SELECT * FROM entries ORDER BY score DESC, entry LIMIT $max_entries"
    return check(_rows(summed, best, max_entries=max_entries), NGRAMS, stage="bigrams")


def _score(summed: Database, language: str, *, min_count: int) -> None:
    """Make the table `scored` (entry, count, pmi) of the bigrams with at least `min_count`.

    The words of such a bigram are as frequent. Each join is a query of its own, for which there is all the memory.
    """
    num_words = _number(summed, "SELECT coalesce(sum(count), 0)::BIGINT FROM unigrams")
    summed.connection.execute(
        """
        CREATE OR REPLACE TABLE half_scored AS
        SELECT first, second, pair.count AS count, word.count AS first_count
        FROM bigrams pair JOIN unigrams word ON word.word = pair.first
        WHERE pair.count >= $min_count AND word.count >= $min_count
        """,
        {"min_count": min_count},
    )
    summed.connection.execute(
        """
        CREATE OR REPLACE TABLE scored AS
        SELECT first || $separator || second AS entry, pair.count AS count,
            round(log2(pair.count::DOUBLE * $num_words / (first_count::DOUBLE * word.count::DOUBLE)), 6) AS pmi
        FROM half_scored pair JOIN unigrams word ON word.word = pair.second
        WHERE word.count >= $min_count
        """,
        {"separator": separator(language), "num_words": float(num_words), "min_count": min_count},
    )
    summed.connection.execute("DROP TABLE half_scored")


def _pmi_quantile(summed: Database) -> float:
    """PMI_30% of the scored bigrams, 0 where there are none. Sorted: a quantile would hold all in memory."""
    num_bigrams = _number(summed, "SELECT count(*) FROM scored")
    rank = max(math.ceil(Fraction(str(_WEIGHT_QUANTILE)) * num_bigrams), 1)
    found = _rows(summed, "SELECT pmi FROM scored ORDER BY pmi LIMIT 1 OFFSET $skip", skip=rank - 1)
    return float(found["pmi"][0].as_py()) if found.num_rows else 0.0


def _number(summed: Database, query: str) -> int:
    return int(_rows(summed, query)[0][0].as_py())


def _rows(summed: Database, query: str, **parameters: float) -> pa.Table:
    return summed.connection.sql(query, params=parameters).to_arrow_table()
