"""What sources offer for a language → its entries: drops, minimum, share, first source wins, cap.

The sources of a language, in order, each go through the same steps:

1. blanks around an entry go, and equal ones of the same source become one: their scores add up, or the highest stays;
2. dropped are the empty, those of punctuation only, those with a control character, the too long, and titles with a
   colon, which are mostly of namespaces;
3. candidates are those of at least the minimum score, best first, equal scores by code point;
4. of the candidates the best share is taken, at least one;
5. those that an earlier source has are left out;
6. the rest is cut at the cap.

So a cap is a number of entries that the source adds: in MetaCLIP v1 the sources' numbers add up to 500,000.

Entries are equal as strings. Those equal only to the matcher (`Normaliser`) all stay: ids then do not depend on a
normaliser, and the matcher takes the first. An emoji or a currency sign is no punctuation.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.metadata.importing import MAX_ENTRY_CHARS, NUMBER_SOURCE, NUMBERS
from metaclip_core.metadata.store import ENTRIES, OFFERED
from metaclip_core.records import check

NUMBERS_OFFERED = pa.table([NUMBERS, [0.0] * len(NUMBERS)], schema=OFFERED)  # in the order of their size
_BLANK = r"^[\pZ\p{Cf}\s]*$"  # with invisible marks
_PUNCTUATION = r"^[\pP\pZ\p{Cf}\s$+<=>^`|~]*$"  # with the symbols of ASCII
_CONTROL = r"\p{Cc}"


class Combine(StrEnum):
    """What becomes of the scores of equal entries of one source, as from two Wikipedias of one language."""

    SUM = "sum"  # counts, views
    MAX = "max"  # mutual information


class Colons(StrEnum):
    """Whether entries with a colon stay."""

    KEEP = "keep"
    DROP = "drop"  # titles


class MergeDrop(StrEnum):
    """Why what a source offers is no entry."""

    REPEATED = "repeated"  # its score went into an equal one
    BLANK = "blank"
    PUNCTUATION = "punctuation"
    CONTROL = "control"
    OVER_LIMIT = "over_limit"
    COLON = "colon"
    BELOW_MINIMUM = "below_minimum"
    BEYOND_SHARE = "beyond_share"
    DUPLICATE = "duplicate"  # of an earlier source
    BEYOND_CAP = "beyond_cap"


@dataclass(frozen=True, kw_only=True)
class SourceLimits:
    """What of a source becomes entries."""

    name: str
    min_score: float = -math.inf
    share: float = 1.0  # of the candidates, by number
    cap: int | None = None  # entries that it may add
    combine: Combine = Combine.SUM
    colons: Colons = Colons.KEEP
    max_chars: int = MAX_ENTRY_CHARS

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or (self.cap is not None and self.cap < 0):
            raise ValueError(f"{self.name}: share {self.share} is not in [0, 1], or cap {self.cap} is negative")


@dataclass(frozen=True, kw_only=True)
class MergedSource:
    """What became of one source of one language: offered = dropped + kept."""

    offered: int
    dropped: dict[str, int] = field(default_factory=dict)  # by `MergeDrop`, in the order of the steps
    kept: int

    @property
    def cap_reached(self) -> bool:
        """Whether the cap, and not the source, set the number of entries."""
        return MergeDrop.BEYOND_CAP in self.dropped


@dataclass(frozen=True, kw_only=True)
class Merged:
    """The entries of a language, and how they came about."""

    table: pa.Table  # ENTRIES; an entry's id is its row
    sources: dict[str, MergedSource]  # in the order of the sources


def merge(offers: Mapping[str, Sequence[pa.Table]], limits: Sequence[SourceLimits]) -> Merged:
    """The entries of one language.

    Args:
        offers: source → OFFERED tables: one, or one for each variant of the language. The numbers are offered by
            themselves, where a limit asks for them. A source may be missing; it then offers nothing.
        limits: of the sources, in the order in which they win.

    Raises:
        ValueError: a source without limits, or with two.
        SchemaError: a table is not OFFERED.
    """
    names = [limit.name for limit in limits]
    if len(set(names)) < len(names) or not set(offers) <= set(names):
        raise ValueError(f"sources {sorted(offers)} need limits, each once; got {names}")
    merged = ENTRIES.empty_table()
    statistics = {}
    for limit in limits:
        tables = [NUMBERS_OFFERED] if limit.name == NUMBER_SOURCE else list(offers.get(limit.name, []))
        added, statistics[limit.name] = _added(tables, merged["entry"], limit)
        merged = pa.concat_tables([merged, added])
    return Merged(table=merged.combine_chunks(), sources=statistics)


def ranked(table: pa.Table) -> pa.Table:
    """OFFERED rows, highest score first, equal scores by code point of the entry."""
    return table.sort_by([("score", "descending"), ("entry", "ascending")])


def union(tables: Mapping[str, pa.Table], limits: Sequence[SourceLimits]) -> pa.Table:
    """One ENTRIES table of several languages: what `OTHER` is matched with, for no label names them apart.

    Every language brings the entries that it has by itself. They stand by source, in the order of `limits`, then by
    language, then as they were; the first of equal ones stays.

    Args:
        tables: language → ENTRIES.
        limits: name every source.

    Raises:
        ValueError: an entry is of a source without limits.
    """
    order = pa.array([limit.name for limit in limits], pa.string())
    whole = pa.concat_tables([ENTRIES.empty_table(), *(tables[language] for language in sorted(tables))])
    places = pc.index_in(whole["source"], value_set=order)
    if places.null_count:
        unlimited = pc.unique(whole["source"].filter(pc.is_null(places))).to_pylist()
        raise ValueError(f"sources {sorted(unlimited)} have no limits")
    by_source = whole.append_column("place", places).append_column("row", _rows(whole.num_rows))
    by_source = by_source.sort_by([("place", "ascending"), ("row", "ascending")]).select(ENTRIES.names)
    numbered = by_source.append_column("row", _rows(by_source.num_rows))
    firsts = numbered.group_by("entry", use_threads=False).aggregate([("row", "min")])
    return by_source.take(firsts.sort_by("row_min")["row_min"]).combine_chunks()


def _rows(number: int) -> pa.Array:
    return pa.array(np.arange(number))


def _added(tables: Sequence[pa.Table], earlier: pa.ChunkedArray, limit: SourceLimits) -> tuple[pa.Table, MergedSource]:
    """What a source adds to the entries of earlier ones: ENTRIES, and its statistics."""
    checked = [check(table, OFFERED, stage=f"merge of {limit.name}") for table in tables]
    offered = pa.concat_tables([OFFERED.empty_table(), *checked])
    dropped: Counter[str] = Counter()
    is_ranked = limit.name != NUMBER_SOURCE  # numbers have an order, and no scores
    left = _combined(offered, limit.combine) if is_ranked else offered
    dropped[MergeDrop.REPEATED] = offered.num_rows - left.num_rows
    for reason, is_bad in _RULES.items():
        kept = left.filter(pc.invert(is_bad(left, limit)))
        dropped[reason] = left.num_rows - kept.num_rows
        left = kept
    left = ranked(left) if is_ranked else left
    best = left.slice(0, math.ceil(Fraction(str(limit.share)) * left.num_rows))
    dropped[MergeDrop.BEYOND_SHARE] = left.num_rows - best.num_rows
    new = best.filter(pc.invert(pc.is_in(best["entry"], value_set=earlier)))
    dropped[MergeDrop.DUPLICATE] = best.num_rows - new.num_rows
    kept = new.slice(0, limit.cap)
    dropped[MergeDrop.BEYOND_CAP] = new.num_rows - kept.num_rows
    added = pa.table([kept["entry"], pa.array([limit.name] * kept.num_rows, pa.string()), kept["score"]], ENTRIES)
    statistics = MergedSource(
        offered=offered.num_rows,
        dropped={str(reason): rows for reason, rows in dropped.items() if rows},
        kept=kept.num_rows,
    )
    return added, statistics


def _combined(offered: pa.Table, combine: Combine) -> pa.Table:
    """`offered` without blanks around entries, and with equal ones made one; in no order."""
    trimmed = offered.set_column(0, OFFERED.field("entry"), pc.utf8_trim_whitespace(offered["entry"]))
    # One thread: a sum of floats depends on their order.
    one = trimmed.group_by("entry", use_threads=False).aggregate([("score", str(combine))])
    return one.rename_columns(["entry", "score"]).select(OFFERED.names).cast(OFFERED)


_RULES: dict[MergeDrop, Callable[[pa.Table, SourceLimits], pa.ChunkedArray]] = {
    MergeDrop.BLANK: lambda table, _: pc.match_substring_regex(table["entry"], _BLANK),
    MergeDrop.PUNCTUATION: lambda table, _: pc.match_substring_regex(table["entry"], _PUNCTUATION),
    MergeDrop.CONTROL: lambda table, _: pc.match_substring_regex(table["entry"], _CONTROL),
    MergeDrop.OVER_LIMIT: lambda table, limit: pc.greater(pc.utf8_length(table["entry"]), limit.max_chars),
    MergeDrop.COLON: lambda table, limit: pc.and_(pc.match_substring(table["entry"], ":"), limit.colons is Colons.DROP),
    MergeDrop.BELOW_MINIMUM: lambda table, limit: pc.less(table["score"], limit.min_score),
}


def merge_languages(tables: Mapping[str, pa.Table]) -> pa.Table:
    """The ENTRIES of all languages as one list, each entry once: of the first language that has it."""
    rows = pa.concat_tables([check(table, ENTRIES, stage="merge") for table in tables.values()])
    first = rows.append_column("row", pa.array(np.arange(rows.num_rows))).group_by("entry").aggregate([("row", "min")])
    return rows.take(pa.array(np.sort(first["row_min"].to_numpy())))
