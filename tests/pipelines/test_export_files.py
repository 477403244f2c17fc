"""Files of exported pairs on a disk, read by what others read them with."""

import json
import tarfile
from datetime import UTC, datetime

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.export_files import IDS, PAIRS, ExportFormat, write_pairs

PNG = b"\x89PNG\r\n\x1a\n and more"
MIB = 1 << 20


def pair(number, **columns):
    return {
        "pair_id": f"{number:024x}",
        "url": f"http://host/{number}",
        "shard": 5,
        "row": number,
        "epoch": 2,
        "kind": "title",
        "caption": f"قطة {number}",
        "caption_index": 1,
        "language": "ar",
        "image": b"\xff\xd8\xff" * (1 + number),
        **columns,
    }


def written(folder, pairs, export_format):
    path = folder / f"file{export_format.suffix}"
    write_pairs(pafs.LocalFileSystem(), str(path), iter(pairs), export_format=export_format)
    return path


def members(path):
    with tarfile.open(path) as archive:
        return {member.name: archive.extractfile(member).read() for member in archive}


def test_tar_holds_json_text_and_image_of_each_pair(tmp_path):
    found = members(written(tmp_path, [pair(1), pair(2, url=None, image=PNG)], ExportFormat.WEBDATASET))
    first, second = f"{1:024x}", f"{2:024x}"
    assert list(found) == [
        f"{first}.json",
        f"{first}.txt",
        f"{first}.jpg",
        f"{second}.json",
        f"{second}.txt",
        f"{second}.png",
    ]
    assert found[f"{second}.png"] == PNG
    assert found[f"{second}.txt"].decode() == "قطة 2"
    assert json.loads(found[f"{first}.json"]) == {
        "pair_id": first,
        "url": "http://host/1",
        "language": "ar",
        "texts": [{"type": "title", "text": "قطة 1"}],
    }
    assert json.loads(found[f"{second}.json"])["url"] is None


def test_tar_says_nothing_of_when_and_by_whom_it_was_written(tmp_path):
    with tarfile.open(written(tmp_path, [pair(1)], ExportFormat.WEBDATASET)) as archive:
        for member in archive:
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
    assert str(datetime.now(UTC).year).encode() not in (tmp_path / "file.tar").read_bytes()


def test_pairs_of_one_id_are_several_keys(tmp_path):
    pairs = [pair(1), pair(1, shard=6, caption="b"), pair(1, row=8, caption="c")]
    found = members(written(tmp_path, pairs, ExportFormat.WEBDATASET))
    keys = {name.partition(".")[0] for name in found}
    assert len(keys) == 3
    assert all(json.loads(found[f"{key}.json"])["pair_id"] == f"{1:024x}" for key in keys)


def test_parquet_holds_pairs_in_groups_of_few_rows_and_bytes(tmp_path):
    path = written(tmp_path, [pair(number) for number in range(2_500)], ExportFormat.PARQUET)
    table = pq.read_table(path)
    assert table.schema == PAIRS
    assert table["caption"].to_pylist() == [f"قطة {number}" for number in range(2_500)]
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [1_024, 1_024, 452]
    large = [pair(number, image=bytes(12 * MIB)) for number in range(5)]
    groups = pq.ParquetFile(written(tmp_path, large, ExportFormat.PARQUET)).metadata
    assert [groups.row_group(index).num_rows for index in range(groups.num_row_groups)] == [2, 2, 1]


def test_ids_hold_what_finds_the_pair_in_its_pool(tmp_path):
    table = pq.read_table(written(tmp_path, [pair(1, image=None)], ExportFormat.IDS))
    assert table.schema == IDS
    assert table.to_pylist() == [
        {"pair_id": f"{1:024x}", "shard": 5, "row": 1, "epoch": 2, "caption_index": 1, "language": "ar"}
    ]


@pytest.mark.parametrize("export_format", list(ExportFormat))
@given(captions=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, max_size=5))
def test_the_same_pairs_give_the_same_bytes(tmp_path_factory, export_format, captions):
    folder = tmp_path_factory.mktemp("same")
    pairs = [pair(number, caption=caption) for number, caption in enumerate(captions)]
    first = written(folder, pairs, export_format).read_bytes()
    assert written(folder, pairs, export_format).read_bytes() == first
    if export_format is ExportFormat.WEBDATASET:
        found = members(folder / "file.tar")
        assert [found[f"{number:024x}.txt"].decode() for number in range(len(captions))] == captions
