import gzip
import itertools
import tempfile
from collections import Counter
from urllib.parse import unquote_to_bytes

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import fs

from metaclip_core.funnel import Funnel
from metaclip_core.languages import is_label, metadata_language
from metaclip_core.metadata import pageviews
from metaclip_core.metadata.pageview_lines import LINES_STAGE, VIEWS, language_of_domain, views_of_lines
from metaclip_core.metadata.pageviews import FILES_STAGE, count_views
from metaclip_core.metadata.store import OFFERED
from metaclip_core.metadata.totals import total_views

LOCAL = fs.LocalFileSystem()
HOUR = """\
"" - 5 0
commons.m Cat 7 0
de Katze 3 0
de.m Katze 4 0
en !Xobile 2 0
en - 999 0
en New_York 10 0
en Special:Search 50 0
en Stra%C3%9Fe 2 0
en Straße 1 0
en 100%_Wolf 1 0
en bad%FFescape 1 0
en.b Cat 5 0
en.d Cat 5 0
en.m New_York 20 0
en.zero New_York 1 0
simple New_York 5 0
www.w Cat 5 0
zh 貓 1 0
zh-classical 貓 2 0
zh-yue 貓 4 0
"""


def dropped(funnel, stage):
    return {reason: number for (at, reason), number in funnel.dropped.items() if at == stage and number}


def count(folder, *hours, max_rows=1_000_000):
    """Totals by (language, title), the runs, and the funnel of files of these bytes."""
    paths = []
    for number, content in enumerate(hours):
        path = folder / f"pageviews-20240501-{number:02d}0000.gz"
        path.write_bytes(content)
        paths.append(str(path))
    funnel = Funnel()
    runs = count_views(
        LOCAL, paths, runs_filesystem=LOCAL, run_path=f"{folder}/runs/job", max_rows=max_rows, funnel=funnel
    )
    totals = Counter()
    for run in runs:
        table = pq.read_table(run)
        assert table.schema == VIEWS
        assert table["language"].to_pylist() == sorted(table["language"].to_pylist())
        for row in table.to_pylist():
            assert (row["language"], row["title"]) not in totals or len(runs) > 1
            totals[row["language"], row["title"]] += row["views"]
    return totals, runs, funnel


def slow_language(domain):
    code = domain.decode("latin-1")
    mobile = [suffix for suffix in (".m", ".zero") if code.endswith(suffix)]
    code = code.removesuffix("".join(mobile))
    is_code = code.isascii() and code == code.lower() and code.replace("-", "a").isalnum()
    return (
        is_code and is_label(code, namespace="wikipedia") and metadata_language(code, namespace="wikipedia")
    ) or None


def decoded(text):
    try:
        return text.decode()
    except UnicodeDecodeError:
        return None


def slow_reason(line):
    """Why a line does not count, by what the modules say; None if it does."""
    fields = line.split(b" ")
    if len(line) > 1 << 16:
        return "views_line_over_limit"
    if len(fields) != 4:
        return "views_fields"
    domain, title, views, _ = fields
    reasons = {
        "views_domain": slow_language(domain) is None,
        "views_number": not views.isdigit() or len(views) > 9,
        "views_colon": b":" in title,
        "views_title_over_limit": not 0 < len(title) <= 765,
        "views_title_encoding": decoded(title) is None,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def slow_views(lines):
    """The views of whole lines, one at a time, and the reasons of the rest."""
    totals = Counter()
    reasons = Counter(map(slow_reason, lines))
    del reasons[None]
    for line in lines:
        if slow_reason(line) is None:
            domain, title, views, _ = line.split(b" ")
            text = decoded(unquote_to_bytes(title)) or decoded(title)
            totals[slow_language(domain), text.replace("_", " ")] += int(views)
    return totals, reasons


def test_titles_of_all_sites_and_variants_count_as_one(tmp_path):
    totals, _, funnel = count(tmp_path, gzip.compress(HOUR.encode()))
    assert totals == {
        ("de", "Katze"): 7,
        ("en", "!Xobile"): 2,
        ("en", "-"): 999,
        ("en", "New York"): 36,
        ("en", "Straße"): 3,
        ("en", "100% Wolf"): 1,
        ("en", "bad%FFescape"): 1,
        ("zh", "貓"): 7,
    }
    assert dropped(funnel, LINES_STAGE) == {"views_domain": 5, "views_colon": 1}
    assert funnel.rows_in[LINES_STAGE] == 21
    assert funnel.rows_out(FILES_STAGE) == 1


@pytest.mark.parametrize(
    ("domain", "language"),
    [
        (b"en", "en"),
        (b"en.m", "en"),
        (b"en.zero", "en"),
        (b"zh-classical.m", "zh"),
        (b"roa-tara", "other"),
        (b"als", "als"),
        (b"be-tarask", metadata_language("be_tarask", namespace="wikipedia")),
        (b"en.m.m", None),
        (b"commons.m", None),
        (b"meta", None),
        (b"www.wd", None),
        (b"en.voy", None),
        (b"EN", None),
        (b"", None),
        (b"\xff", None),
        (b"en\n", None),
    ],
)
def test_domains_of_wikipedias_alone_have_a_language(domain, language):
    assert language_of_domain(domain) == language


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "views_fields"),
        (b"en", "views_fields"),
        (b"en Cat", "views_fields"),
        (b"en Cat 5", "views_fields"),
        (b"en Cat 5 0 0", "views_fields"),
        (b"en  Cat 5 0", "views_fields"),
        (b" en Cat 5", "views_domain"),
        (b"\xff\xfe Cat 5 0", "views_domain"),
        (b"en Cat five 0", "views_number"),
        (b"en Cat -5 0", "views_number"),
        (b"en Cat +5 0", "views_number"),
        (b"en Cat 5.0 0", "views_number"),
        (b"en Cat 1_0 0", "views_number"),
        (b"en Cat \xd9\xa5 0", "views_number"),  # an Arabic digit
        (b"en Cat  0", "views_number"),
        (b"en Cat 1000000000 0", "views_number"),
        (b"en Cat " + b"9" * 400 + b" 0", "views_number"),
        (b"en \xff\xfe 5 0", "views_title_encoding"),
        (b"en \xed\xa0\x80 5 0", "views_title_encoding"),  # a surrogate
        (b"en  5 0", "views_title_over_limit"),
        (b"en " + b"x" * 766 + b" 5 0", "views_title_over_limit"),
        (b"en Talk:Cat 5 0", "views_colon"),
        (b"en " + b"x" * 70_000 + b" 5 0", "views_line_over_limit"),
        (b"en " + b"x" * 10_000_000 + b" 5 0", "views_line_over_limit"),
        (b"x" * 20_000_000, "views_line_over_limit"),
    ],
)
def test_a_bad_line_is_counted_once_and_harms_no_other(tmp_path, line, reason):
    content = b"en Before 1 0\n" + line + b"\nen After 2 0\n"
    totals, _, funnel = count(tmp_path, gzip.compress(content, 1))
    assert totals == {("en", "Before"): 1, ("en", "After"): 2}
    assert dropped(funnel, LINES_STAGE) == {reason: 1}
    assert funnel.rows_in[LINES_STAGE] == 3


def test_a_zero_byte_in_a_title_is_left_to_the_merge(tmp_path):
    totals, _, _ = count(tmp_path, gzip.compress(b"en a\x00b 1 0\n\x00 \x00 \x00 \x00\n"))
    assert totals == {("en", "a\x00b"): 1}


FIELD = st.one_of(
    st.sampled_from([b"en", b"de.m", b"zh-yue", b"en.b", b"A_b", b"5", b"007", b"%C3%A9", b"%FF", b"%5F", b"\xc3\xa9"]),
    st.binary(max_size=4).map(lambda text: text.replace(b"\n", b"")),
)
LINES = st.lists(st.lists(FIELD, max_size=5).map(b" ".join), max_size=30)


@settings(max_examples=300)
@given(LINES)
def test_lines_of_any_kind_agree_with_the_slow_reading(lines):
    funnel = Funnel()
    table = views_of_lines(b"".join(line + b"\n" for line in lines), funnel)
    totals = Counter()
    for row in table.to_pylist():
        totals[row["language"], row["title"]] += row["views"]
    expected, reasons = slow_views(lines)
    assert totals == expected
    assert dropped(funnel, LINES_STAGE) == reasons
    assert funnel.rows_in[LINES_STAGE] == len(lines)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(LINES, st.integers(1, 50), st.integers(1, 5))
def test_totals_do_not_depend_on_blocks_and_runs(tmp_path_factory, lines, block_bytes, max_rows):
    content = gzip.compress(b"\n".join(lines))
    expected = slow_views([*lines[:-1], *filter(None, lines[-1:])])[0]  # a file may end without a newline
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pageviews, "_BLOCK_BYTES", block_bytes)
        patch.setattr(pageviews, "_CHUNK_BYTES", 7)
        totals, _, _ = count(tmp_path_factory.mktemp("views"), content, content, max_rows=max_rows)
    assert totals == expected + expected


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.95])
def test_a_file_that_is_cut_keeps_its_whole_lines_and_is_counted(tmp_path, share):
    lines = [f"en Title_{number} {number + 100} 0" for number in range(20_000)]
    content = gzip.compress("\n".join(lines).encode())
    totals, _, funnel = count(tmp_path, content[: int(share * len(content))], gzip.compress(b"en Next 1 0\n"))
    assert totals.pop(("en", "Next")) == 1
    expected = {("en", f"Title {number}"): number + 100 for number in range(len(totals))}
    assert totals == expected
    assert dropped(funnel, FILES_STAGE) == {"views_file_truncated": 1}


def test_a_file_that_is_corrupt_keeps_what_stands_before(tmp_path):
    content = bytearray(gzip.compress(b"".join(b"en T%d %d 0\n" % (n, n * n % 977) for n in range(50_000))))
    content[len(content) // 2 :] = b"\xff" * 1000
    totals, _, funnel = count(tmp_path, bytes(content))
    assert 1000 < len(totals) < 50_000
    assert dropped(funnel, FILES_STAGE) == {"views_file_truncated": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "views_file_empty"),
        (gzip.compress(b""), "views_file_empty"),
        (b"en Cat 5 0\n", "views_file_unreadable"),
        (b"\x1f", "views_file_unreadable"),
        (gzip.compress(b"en Cat 5 0\n")[:9], "views_file_unreadable"),
    ],
)
def test_a_file_without_lines_is_counted(tmp_path, content, reason):
    totals, runs, funnel = count(tmp_path, content)
    assert not totals
    assert runs == []
    assert dropped(funnel, FILES_STAGE) == {reason: 1}


def test_a_file_that_is_not_there_stops(tmp_path):
    with pytest.raises(FileNotFoundError):
        count_views(
            LOCAL, [f"{tmp_path}/no.gz"], runs_filesystem=LOCAL, run_path=f"{tmp_path}/r/j", max_rows=9, funnel=Funnel()
        )


def views(folder, runs, language="en", *, min_views=1, memory_bytes=100_000_000):
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        return total_views(
            LOCAL, runs, language=language, min_views=min_views, scratch=scratch, memory_bytes=memory_bytes
        )


def test_totals_are_ranked_and_the_same_however_the_runs_were_split(tmp_path):
    hour = gzip.compress(b"".join(b"en T%d %d 0\nde T%d 1 0\n" % (n % 400, n % 7, n) for n in range(3000)))
    tables = []
    for max_rows in (100, 1_000, 1_000_000):
        folder = tmp_path / str(max_rows)
        folder.mkdir()
        totals, runs, _ = count(folder, hour, hour, max_rows=max_rows)
        tables.append(views(folder, runs, min_views=40))
    assert tables[0] == tables[1] == tables[2]
    english = ((title, float(views)) for (language, title), views in totals.items() if language == "en" and views >= 40)
    assert [tuple(row.values()) for row in tables[0].to_pylist()] == sorted(english, key=lambda row: (-row[1], row[0]))
    assert tables[0].schema == OFFERED


def test_totals_that_do_not_fit_in_memory_are_spilled(tmp_path):
    def hour(start):
        return gzip.compress(b"".join(b"en %s_%d 1 0\n" % (b"word" * 12, n) for n in range(start, start + 150_000)), 1)

    _, runs, _ = count(tmp_path, *map(hour, (0, 75_000, 150_000, 225_000)))
    table = views(tmp_path, runs, memory_bytes=48_000_000)
    assert table.num_rows == 375_000
    assert table["score"].to_pylist() == [2.0] * 225_000 + [1.0] * 150_000


@pytest.mark.parametrize("language", ["fr", "' OR 1=1 --"])
def test_totals_of_a_language_without_titles_are_empty(tmp_path, language):
    _, runs, _ = count(tmp_path, gzip.compress(HOUR.encode()))
    assert views(tmp_path, runs, language) == OFFERED.empty_table()
    assert views(tmp_path, [], language) == OFFERED.empty_table()


def test_a_run_has_row_groups_of_single_languages(tmp_path):
    _, runs, _ = count(tmp_path, gzip.compress(HOUR.encode()))
    metadata = pq.ParquetFile(runs[0]).metadata
    bounds = [metadata.row_group(group).column(0).statistics for group in range(metadata.num_row_groups)]
    assert [(bound.min, bound.max) for bound in bounds] == [("de", "de"), ("en", "en"), ("zh", "zh")]


def test_order_of_files_does_not_matter(tmp_path):
    hours = [gzip.compress(f"en A 1 0\nen {name} 2 0\n".encode()) for name in "ABC"]
    for number, order in enumerate(itertools.permutations(hours)):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert count(folder, *order)[0] == {("en", "A"): 5, ("en", "B"): 2, ("en", "C"): 2}
