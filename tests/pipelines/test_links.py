"""The link table of small crawls: the same however it is cut, killed and resumed."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

from metaclip_core.funnel import Funnel
from metaclip_core.pairs import pair_id
from metaclip_core.records import LINK, DropReason, Stage
from metaclip_core.wat import LinkLimits
from pipelines import links, storage
from pipelines.config import build_config
from pipelines.config.pool import PoolConfig
from pipelines.errors import UserError
from pipelines.links import make_links
from pipelines.sources.webdataset import WebDatasetSource
from tests.pipelines.sources.wat_files import INFO, image, member, page

pytestmark = pytest.mark.ray

NUM_FILES, NUM_PAGES, NUM_IMAGES = 10, 30, 300


def quiet(*_):
    """No progress."""


def made_crawl():
    """A list of files; a file is a list of pages, each (address, [(image's number, attributes)])."""
    rng = np.random.default_rng(0)
    crawl = []
    for file in range(NUM_FILES):
        pages = []
        for number in range(NUM_PAGES):
            shown = [
                (int(rng.integers(NUM_IMAGES)), {"alt": f"alt {rng.integers(40)}", "title": f"title {rng.integers(3)}"})
                for _ in range(rng.integers(12))
            ]
            pages.append((f"http://site{file}.example/{number}", shown))
        crawl.append(pages)
    return crawl


CRAWL = made_crawl()
BROKEN = member(page(image("/broken.jpg", alt="x")))[:-9] + b"\xff" * 9


def url_of(number):
    return f"http://images.example/{number}.jpg"


def write_crawl(folder, crawl):
    for number, pages in enumerate(crawl):
        path = folder / f"segment{number % 3}" / f"{number:05}.warc.wat.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        contents = [page(*[image(url_of(n), **texts) for n, texts in shown], url=url) for url, shown in pages]
        path.write_bytes(INFO + BROKEN + b"".join(member(content) for content in contents))
        os.utime(path, (0, number))
    return folder


def expected(crawl):
    """Pair id → (address, first page, texts), by plain Python."""
    found = {}
    for pages in crawl:
        for url, shown in pages:
            for number, texts in shown:
                address = url_of(number)
                entry = found.setdefault(pair_id(address, ""), [address, url, set()])
                entry[1] = min(entry[1], url)
                entry[2] |= set(texts.values())
    return {name: tuple(entry) for name, entry in found.items()}


def table_of(result):
    parts = sorted(Path(result.uri).glob("*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def config_of(**compute):
    return build_config({"compute": {"timeout_s": 120, **compute}})


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    return write_crawl(tmp_path_factory.mktemp("crawl"), CRAWL)


@pytest.fixture(scope="module")
def reference(cluster, crawl, tmp_path_factory):
    """Made in one block."""
    out = tmp_path_factory.mktemp("links")
    return make_links(config_of(shard_blocks=1), wat_uri=str(crawl), out_uri=str(out), progress=quiet)


def test_table_holds_every_image_once_with_all_its_captions(reference):
    rows = table_of(reference)
    assert [row["pair_id"] for row in rows] == sorted(expected(CRAWL))
    assert {
        row["pair_id"]: (row["url"], row["page"], {c["text"] for c in row["captions"]}) for row in rows
    } == expected(CRAWL)
    assert all(row["caption"] == row["captions"][0]["text"] for row in rows)
    assert reference.num_links == len(rows)


def test_table_has_the_columns_of_a_link_and_one_caption(reference):
    [part] = Path(reference.uri).glob("*.parquet")
    schema = pq.read_schema(part)
    assert schema.names == [*LINK.names, "caption"]
    assert all(schema.field(field.name).type == field.type for field in LINK)


def test_funnel_accounts_for_every_record_link_and_caption(reference):
    funnel = {record["stage"]: record for record in reference.funnel.to_records()}
    num_shown = [len(shown) for pages in CRAWL for _, shown in pages]
    assert funnel[Stage.SHARDS]["rows_in"] == NUM_FILES
    assert funnel[Stage.RECORDS]["rows_in"] == NUM_FILES * (NUM_PAGES + 1)
    assert funnel[Stage.RECORDS]["dropped"] == {
        DropReason.RECORD_BROKEN: NUM_FILES,
        DropReason.NO_IMAGE: num_shown.count(0),
    }
    assert funnel[Stage.LINKS] == {
        "stage": "links",
        "rows_in": sum(num_shown),
        "rows_out": sum(num_shown),
        "dropped": {},
    }
    assert funnel[Stage.CAPTIONS]["rows_in"] == 2 * sum(num_shown)
    assert funnel[Stage.DEDUPLICATE]["rows_in"] == sum(num_shown)
    assert funnel[Stage.DEDUPLICATE]["rows_out"] == len(expected(CRAWL))
    assert json.loads((Path(reference.uri) / "funnel.json").read_text()) == reference.funnel.to_records()


def test_table_of_many_blocks_and_of_parts_in_several_windows_is_the_same(reference, crawl, tmp_path, monkeypatch):
    monkeypatch.setattr(links, "_PART_ROWS", 200)
    monkeypatch.setattr(links, "_WINDOW_PARTS", 8)
    steps = []
    result = make_links(
        config_of(shard_blocks=8),
        wat_uri=str(crawl),
        out_uri=str(tmp_path),
        progress=lambda *step: steps.append(step),
    )
    assert len(list(Path(result.uri).glob("part-?.parquet"))) == 16
    assert table_of(result) == table_of(reference)
    assert result.funnel.to_records() == reference.funnel.to_records()
    assert steps[-1] == ("merge", 16, 16)
    lost, *others = sorted(Path(result.uri).glob("part-?.parquet"))
    stamps = {path: path.stat().st_mtime_ns for path in others}
    (Path(result.uri) / "funnel.json").unlink()  # as if killed while it merged
    lost.unlink()
    resumed = make_links(config_of(), wat_uri=str(crawl), out_uri=str(tmp_path), progress=quiet)
    assert resumed == result
    assert table_of(resumed) == table_of(reference)
    assert {path: path.stat().st_mtime_ns for path in others} == stamps
    assert ("read", NUM_FILES, NUM_FILES) in steps


def test_table_made_again_reads_nothing_and_a_crawl_that_grew_only_what_is_new(cluster, crawl, tmp_path):
    folder = write_crawl(tmp_path / "crawl", CRAWL[:3])
    made = [make_links(config_of(), wat_uri=str(folder), out_uri=str(tmp_path), progress=quiet)]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "files").iterdir()}
    made.append(make_links(config_of(), wat_uri=str(folder), out_uri=str(tmp_path), progress=quiet))
    assert made[0] == made[1]
    write_crawl(folder, CRAWL[:4])
    made.append(make_links(config_of(), wat_uri=str(folder), out_uri=str(tmp_path), progress=quiet))
    assert made[2].uri != made[0].uri
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list((tmp_path / "files").iterdir())) == 4
    assert {row["pair_id"] for row in table_of(made[2])} == set(expected(CRAWL[:4]))


def test_table_of_pages_without_images_is_empty(cluster, tmp_path):
    path = tmp_path / "one.warc.wat.gz"
    path.write_bytes(INFO + member(page()))
    result = make_links(config_of(), wat_uri=str(path), out_uri=str(tmp_path), progress=quiet)
    assert (result.num_links, table_of(result)) == (0, [])


def test_files_that_are_no_archives_are_counted(cluster, tmp_path):
    for name, data in {"empty": b"", "text": b"no archive", "cut": INFO + member(page())[:-20]}.items():
        (tmp_path / f"{name}.warc.wat.gz").write_bytes(data)
    result = make_links(config_of(), wat_uri=str(tmp_path), out_uri=str(tmp_path / "out"), progress=quiet)
    funnel = {record["stage"]: record for record in result.funnel.to_records()}
    assert funnel[Stage.SHARDS]["dropped"] == {DropReason.SHARD_TRUNCATED: 1, DropReason.SHARD_UNREADABLE: 2}


@pytest.mark.parametrize(("name", "message"), [("none", "no such folder"), ("empty", "holds no")])
def test_links_of_no_files_is_an_error_for_the_user(tmp_path, name, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        make_links(config_of(), wat_uri=str(tmp_path / name), out_uri=str(tmp_path), progress=quiet)
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


class EarlyEnd:
    """A store that knows a file's true size and gives nothing behind its first 3,000 bytes."""

    def open_input_file(self, path):
        self._file = pafs.LocalFileSystem().open_input_file(path)
        return self

    def size(self):
        return self._file.size()

    def read_at(self, length, offset):
        return self._file.read_at(max(0, min(length, 3_000 - offset)), offset)

    def close(self):
        self._file.close()


def test_store_that_ends_a_file_early_is_an_error_and_publishes_nothing(crawl, tmp_path, monkeypatch):
    files = links.list_files(str(crawl), str(tmp_path), LinkLimits()).slice(0, 1)
    store = EarlyEnd()
    monkeypatch.setattr("pipelines.steady._FIRST_PAUSE_S", 0)
    resolve = storage.resolve
    monkeypatch.setattr(storage, "resolve", lambda uri: (store, "") if uri == "early" else resolve(uri))
    with pytest.raises(OSError, match="the store ended after 3000 of"):
        links._read_files(files, wat_uri="early", limits=LinkLimits())
    assert list(tmp_path.rglob("*.parquet*")) == []


@pytest.mark.slow  # the same kind of fault as in test_curate.py
def test_job_killed_and_run_again_repeats_no_finished_file(reference, crawl, tmp_path):
    command = [sys.executable, "-m", "ray_jobs.links", "--wat", str(crawl), "--out", str(tmp_path), "--json"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("files/*.parquet")):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("files/*.parquet")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert summary["funnel"] == reference.funnel.to_records()
    assert summary["links"] == reference.num_links
    [part], [other] = Path(summary["links_uri"]).glob("*.parquet"), Path(reference.uri).glob("*.parquet")
    assert part.read_bytes() == other.read_bytes()


def write_downloaded(path, rows):
    """A shard as img2dataset 1.47 writes it, run on a link table with `captions` and `page` as additional columns."""
    with tarfile.open(path, "w") as archive:
        for number, row in enumerate(rows):
            told = {
                "captions": row["captions"],
                "page": row["page"],
                "caption": row["caption"],
                "url": row["url"],
                "key": f"{number:08}",
                "status": "success",
                "error_message": None,
                "width": 81,
                "height": 60,
                "original_width": 81,
                "original_height": 60,
                "exif": "{}",
                "sha256": "9e29",
            }
            members = {"jpg": b"image", "json": json.dumps(told, indent=4).encode(), "txt": row["caption"].encode()}
            for suffix, data in members.items():
                header = tarfile.TarInfo(f"{number:08}.{suffix}")
                header.size, header.mode, header.uname, header.mtime = len(data), 0o444, "bigdata", 1795401603.98
                archive.addfile(header, io.BytesIO(data))


def test_what_img2dataset_makes_of_the_table_comes_back_as_a_pool_with_all_captions(reference, tmp_path):
    [part] = Path(reference.uri).glob("*.parquet")
    rows = pq.read_table(part, columns=["url", "caption", "captions", "page"]).to_pylist()  # as img2dataset reads it
    downloaded = [row for number, row in enumerate(rows) if number % 5]
    write_downloaded(tmp_path / "00000.tar", downloaded)
    source, funnel = WebDatasetSource(PoolConfig(), uri=str(tmp_path)), Funnel()
    [pairs] = source.read_captions("00000.tar", shard=0, batch_rows=1000, funnel=funnel)
    captions = {row["pair_id"]: row["captions"] for row in table_of(reference)}
    assert [pair["captions"] for pair in pairs.to_pylist()] == [row["captions"] for row in downloaded]
    assert all(captions[pair["pair_id"]] == pair["captions"] for pair in pairs.to_pylist())
    assert max(len(pair["captions"]) for pair in pairs.to_pylist()) > 3
    assert funnel.dropped == {}
