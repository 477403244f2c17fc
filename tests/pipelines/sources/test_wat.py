import gzip
import io

import pyarrow as pa
import pytest
from fastwarc.warc import ArchiveIterator

from metaclip_core.funnel import Funnel
from metaclip_core.links import merge_links
from metaclip_core.records import LINK, DropReason, Stage
from metaclip_core.wat import LinkLimits
from pipelines.sources import wat as source
from pipelines.sources.wat import read_wat
from tests.pipelines.sources.wat_files import INFO, image, member, page, record, wat

PAGES = [
    page(*[image(f"{i}-{j}.jpg", alt=f"{i} {j}") for j in range(i)], image("logo.png", alt="logo")) for i in range(8)
]


class Reading:
    """The links of a file, and its funnel."""

    def __init__(self, data, **options):
        self.funnel = Funnel()
        self.tables = list(read_wat(io.BytesIO(data), limits=LinkLimits(), funnel=self.funnel, **options))
        self.table = merge_links(pa.concat_tables([LINK.empty_table(), *self.tables]))
        self.texts = sorted(row["captions"][0]["text"] for row in self.table.to_pylist())

    def dropped(self, stage):
        return {reason: n for (at, reason), n in self.funnel.dropped.items() if at == stage}


def texts_of(numbers):
    return sorted([f"{i} {j}" for i in numbers for j in range(i)] + ["logo"])


def test_links_of_a_file_are_those_of_its_pages_each_once():
    found = Reading(wat(*PAGES))
    assert len(found.tables) == 1
    assert found.texts == texts_of(range(8))
    assert (found.funnel.rows_in[Stage.SHARDS], found.funnel.rows_in[Stage.RECORDS]) == (1, 8)
    assert found.dropped(Stage.SHARDS) == found.dropped(Stage.RECORDS) == {}


def test_records_of_a_sound_file_are_those_that_fastwarc_reads():
    data = wat(*PAGES)
    theirs = [r.reader.read() for r in ArchiveIterator(io.BytesIO(data), parse_http=False)]
    assert list(source._contents(io.BytesIO(data), Funnel())) == theirs[1:]


@pytest.mark.parametrize("broken", range(8))
@pytest.mark.parametrize("at", [0, 3, 40, -2])
def test_broken_record_costs_itself_alone(broken, at):
    members = [member(content) for content in PAGES]
    hurt = bytearray(members[broken])
    hurt[at] ^= 0xFF
    found = Reading(INFO + b"".join([*members[:broken], bytes(hurt), *members[broken + 1 :]]))
    assert found.texts == texts_of(i for i in range(8) if i != broken)
    assert found.dropped(Stage.RECORDS) == {DropReason.RECORD_BROKEN: 1}
    assert found.funnel.rows_in[Stage.RECORDS] == 8
    assert found.dropped(Stage.SHARDS) == {}


BAD_RECORDS = {
    "no header": (gzip.compress(b"no record at all"), DropReason.RECORD_BROKEN),
    "broken JSON": (member(b'{"Envelope": {'), DropReason.BAD_METADATA),
    "deep JSON": (member(b"[" * 1_000_000), DropReason.BAD_METADATA),
    "a length that is too large": (
        gzip.compress(record(page()).replace(b"Content-Length: ", b"Content-Length: 9999")[:-20]),
        DropReason.BAD_METADATA,
    ),
    "a list": (member([page()]), DropReason.BAD_METADATA),
    "zeros": (member(bytes(1000)), DropReason.BAD_METADATA),
    "no content": (member(b""), DropReason.BAD_METADATA),
    "a bomb": (gzip.compress(record(b" " * (40 << 20))), DropReason.RECORD_BYTES_OVER_LIMIT),
}


@pytest.mark.parametrize("name", BAD_RECORDS)
def test_bad_record_is_counted_for_its_reason_and_leaves_its_neighbours(name):
    data, reason = BAD_RECORDS[name]
    found = Reading(INFO + member(PAGES[1]) + data + member(PAGES[2]))
    assert found.texts == texts_of([1, 2])
    assert found.dropped(Stage.RECORDS) == {reason: 1}
    assert found.dropped(Stage.SHARDS) == {}


def test_file_that_is_cut_keeps_what_stands_before_and_is_counted():
    data = wat(*PAGES)
    for cut in (1, 50, len(data) // 2):
        found = Reading(data[:-cut])
        assert set(found.texts) <= set(texts_of(range(8)))
        assert found.texts
        assert found.dropped(Stage.SHARDS) == {DropReason.SHARD_TRUNCATED: 1}


@pytest.mark.parametrize("data", [b"", b"no archive" * 100, gzip.compress(b"x")[:-5]])
def test_file_that_is_no_archive_is_unreadable(data):
    found = Reading(data)
    assert found.texts == []
    assert found.dropped(Stage.SHARDS) == {DropReason.SHARD_UNREADABLE: 1}


def test_file_with_more_links_than_are_combined_at_once_gives_the_same_links(monkeypatch):
    monkeypatch.setattr(source, "_BATCH_ROWS", 4)
    whole, runs = Reading(wat(*PAGES)), Reading(wat(*PAGES), run_rows=10)
    assert len(runs.tables) > 1
    assert all(table.equals(merge_links(table)) for table in runs.tables)
    assert runs.table.equals(whole.table)
    assert runs.funnel == whole.funnel
