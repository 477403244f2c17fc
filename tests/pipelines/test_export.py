"""An export is the draw: the same pairs in every format, however it is cut, killed, resumed and read back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import webdataset

from metaclip_core.funnel import Funnel
from metaclip_core.records import DropReason, Stage
from pipelines import export
from pipelines.config import build_config
from pipelines.curate import curate
from pipelines.draw import draw_rows
from pipelines.errors import UserError
from pipelines.export import ExportSpec, export_pool
from pipelines.export_files import ExportFormat
from pipelines.manifest import load_manifest
from pipelines.metadata import import_metadata
from pipelines.selection import read_unique
from pipelines.sources.base import open_source
from pipelines.thresholds import load_tables
from tests.stores import BUCKET

pytestmark = pytest.mark.ray

NUM_SHARDS = 7
LAST = NUM_SHARDS - 1  # of one pair that matches nothing
EPOCH = 3
COLUMNS = {"pair_id": "pair_id", "url": "url", "captions": "caption", "image": "image"}
TEXTS = pa.list_(pa.struct([("kind", pa.string()), ("text", pa.string())]))


def quiet(*_):
    """No progress."""


def write_pool(sample, folder):
    """Shards of the sample by path: a third without a URL, some twice, some whose image is gone or of another kind."""
    source = open_source(build_config({"pool": {"uri": str(sample)}}))
    (folder / "images").mkdir(parents=True)
    for shard, name in enumerate(source.list_shards()["name"].to_pylist()[:LAST]):
        pairs = pa.concat_tables(source.read_captions(name, shard=shard, batch_rows=999, funnel=Funnel())).to_pylist()
        images = source.read_images(name, *([pair[f"image_{part}"] for pair in pairs] for part in ("offset", "length")))
        rows = []
        for row, (pair, image) in enumerate(zip(pairs, images, strict=True)):
            rows.append(
                {
                    "url": f"http://host/{shard // 2 if row % 7 == 4 else shard}/{row}.jpg" if row % 3 else None,
                    "captions": [*pair["captions"], {"kind": "title", "text": f"seven and {row} and twelve"}],
                    "path": f"images/{shard}-{row}",
                }
            )
            content = b"GIF89a no image" if row % 10 == 6 else image
            if row % 10 != 7:
                (folder / rows[-1]["path"]).write_bytes(content)
        write_shard(folder, shard, rows)
    write_shard(folder, LAST, [{"url": None, "captions": [{"kind": "alt", "text": "zyzzyva"}], "path": "images/0-0"}])


def write_shard(folder, shard, rows):
    columns = {"url": pa.string(), "captions": TEXTS, "path": pa.string()}
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), folder / f"{shard:05d}.parquet")


def recipe_of(root, pool, **curation):
    columns = {"url": "url", "captions": "captions", "image": None, "image_path": "path"}
    return {
        "root": str(root),
        "pool": {"name": "numbers", "uri": str(pool), "format": "parquet", "columns": columns},
        "metadata": {"name": "numbers"},
        "curation": {"p": 0.3, **curation},
        "compute": {"timeout_s": 120},
    }


@pytest.fixture(scope="module")
def pool(sample, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "pool"
    write_pool(sample, folder)
    return folder


@pytest.fixture(scope="module")
def recipe(cluster, sample, pool):
    recipe = recipe_of(pool.parent / "root", pool)
    import_metadata(str(sample / "metadata"), build_config(recipe))
    curate(build_config(recipe), progress=quiet)
    return recipe


def exported(recipe, out=None, *, overrides=(), progress=quiet, **spec):
    spec = ExportSpec(**{"epoch": EPOCH, "format": ExportFormat.WEBDATASET, **spec})
    out_uri = None if out is None else str(out)
    return export_pool(build_config(recipe, overrides=overrides), spec, out_uri=out_uri, progress=progress)


def drawn(recipe, *, epoch=EPOCH):
    """What training would be fed in an epoch: (pair id, caption, image), without those whose image can't be read."""
    config = build_config(recipe)
    where = curate(config, progress=quiet).curated
    source, tables = open_source(config), load_tables(where)
    pairs, failed = [], Counter()
    for shard, name in enumerate(load_manifest(config).table["name"].to_pylist()):
        annotated = read_unique(where, shard)
        item = draw_rows(annotated, tables, epoch=epoch, seed=config.seed)
        places = annotated.take(pa.array(item.index))
        images = source.read_images(name, places["image_offset"].to_pylist(), places["image_length"].to_pylist())
        for row, image in zip(item.rows.to_pylist(), images, strict=True):
            if isinstance(image, DropReason):
                failed[image] += 1
            else:
                pairs.append((row["pair_id"], row["caption"], image))
    return pairs, failed


@pytest.fixture(scope="module")
def expected(recipe):
    return drawn(recipe)


@pytest.fixture(scope="module")
def reference(recipe, tmp_path_factory):
    """WebDataset, in one block."""
    out = tmp_path_factory.mktemp("reference") / "out"
    return exported(recipe, out, overrides=["compute.shard_blocks=1", "compute.max_actors=1"])


def pool_of(result, export_format):
    return {"uri": result.uri, "format": export_format, "columns": COLUMNS}


def read_back(result, export_format=ExportFormat.WEBDATASET):
    """(pair id, caption, image) of a recipe whose pool is an export; each pair has one caption."""
    source = open_source(build_config({"pool": pool_of(result, export_format)}))
    pairs, funnel = [], Funnel()
    for name in source.list_shards()["name"].to_pylist():
        table = pa.concat_tables(source.read_captions(name, shard=0, batch_rows=50, funnel=funnel))
        images = source.read_images(name, table["image_offset"].to_pylist(), table["image_length"].to_pylist())
        for pair, image in zip(table.to_pylist(), images, strict=True):
            [caption] = pair["captions"]
            pairs.append((pair["pair_id"], caption["text"], image))
    assert not funnel.dropped
    return pairs


def files_of(result):
    root = Path(result.uri).parent
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def in_parquet(recipe, tmp_path_factory):
    """Parquet, in files of several shards."""
    out = tmp_path_factory.mktemp("parquet") / "out"
    return exported(recipe, out, format=ExportFormat.PARQUET, shards_per_file=4)


def test_export_of_a_file_for_each_shard_read_back_is_the_draw(reference, expected):
    pairs, _ = expected
    assert len(pairs) > 50
    assert {image[:3] for _, _, image in pairs} >= {b"GIF", b"\xff\xd8\xff"}
    assert read_back(reference) == pairs
    assert_says_what_it_holds(reference, pairs, num_files=LAST)


def test_export_of_a_file_for_some_shards_read_back_is_the_draw(in_parquet, expected):
    pairs, _ = expected
    assert read_back(in_parquet, ExportFormat.PARQUET) == pairs
    assert_says_what_it_holds(in_parquet, pairs, num_files=2)
    table = pq.read_table(in_parquet.uri)  # as others read a folder
    assert table.schema.names == ["pair_id", "url", "caption", "language", "image"]
    assert table["pair_id"].to_pylist() == [pair_id for pair_id, _, _ in pairs]


def assert_says_what_it_holds(result, pairs, *, num_files):
    files = list(Path(result.uri).iterdir())
    assert len(files) == num_files
    assert result.num_bytes == sum(path.stat().st_size for path in files)
    assert result.num_pairs == len(pairs)


def test_ids_joined_with_the_pool_are_the_draw(recipe, expected, tmp_path):
    result = exported(recipe, tmp_path / "out", format=ExportFormat.IDS)
    config = build_config(recipe)
    where = curate(config, progress=quiet).curated
    pairs = []
    for row in pq.read_table(result.uri).to_pylist():
        annotated = read_unique(where, row["shard"]).to_pylist()
        [pair] = [pair for pair in annotated if pair["row"] == row["row"]]
        assert (row["epoch"], row["pair_id"]) == (EPOCH, pair["pair_id"])
        assert row["language"] == pair["captions"][row["caption_index"]]["language"]
        pairs.append((row["pair_id"], pair["captions"][row["caption_index"]]["text"]))
    readable, failed = expected
    assert len(pairs) == len(readable) + failed.total()
    assert set(pairs) >= {(pair_id, caption) for pair_id, caption, _ in readable}
    assert result.num_pairs == len(pairs)


def test_funnel_accounts_for_every_pair_from_the_shards_to_the_files(recipe, reference, expected):
    pairs, failed = expected
    funnel = {record["stage"]: record for record in reference.funnel.to_records()}
    assert list(funnel)[-3:] == [Stage.MATCH, Stage.DRAW, Stage.EXPORT]
    assert funnel[Stage.DRAW]["rows_in"] == funnel[Stage.MATCH]["rows_out"]
    assert set(funnel[Stage.DRAW]["dropped"]) == {DropReason.NOT_DRAWN}
    assert funnel[Stage.DRAW]["rows_out"] == funnel[Stage.EXPORT]["rows_in"]
    assert funnel[Stage.EXPORT]["dropped"] == failed
    assert failed[DropReason.NO_IMAGE] > 3
    assert funnel[Stage.EXPORT]["rows_out"] == len(pairs)
    assert json.loads(files_of(reference)["funnel.json"]) == reference.funnel.to_records()


def test_export_of_many_blocks_and_actors_has_the_same_bytes(recipe, reference, tmp_path):
    steps = []
    other = exported(
        recipe,
        tmp_path / "out",
        overrides=["compute.shard_blocks=8", "compute.max_actors=2"],
        progress=lambda *step: steps.append(step),
    )
    assert files_of(other) == files_of(reference)
    assert steps[0] == ("export", 0, NUM_SHARDS)
    assert steps[-1] == ("export", NUM_SHARDS, NUM_SHARDS)


def test_export_that_was_interrupted_writes_what_is_missing_alone(recipe, reference, tmp_path):
    root = shutil.copytree(Path(reference.uri).parent, tmp_path / "out")
    for name in ("funnel.json", "funnels/00000002.json", "pairs/00000003.tar", "funnels/00000003.json"):
        (root / name).unlink()
    (root / "pairs/00000002.tar").write_bytes(b"left")  # its funnel would have been written behind it
    stamps = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    again = exported(recipe, root)
    changed = {path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp}
    assert changed == {"00000002.tar"}
    assert files_of(again) == files_of(reference)


def test_finished_export_is_told_again_without_work(recipe, reference):
    steps = []
    again = exported(recipe, Path(reference.uri).parent, progress=lambda *step: steps.append(step))
    assert again == reference
    assert steps == []


def test_exports_of_another_epoch_and_seed_lie_apart_below_the_root(recipe, expected):
    results = [exported(recipe, epoch=EPOCH + 1), exported(recipe, overrides=["seed=1"])]
    assert len({result.uri for result in results}) == 2
    assert {Path(result.uri).parents[1] for result in results} == {Path(recipe["root"]) / "exports"}
    pairs = [set(read_back(result)) for result in results]
    assert pairs[0] == set(drawn(recipe, epoch=EPOCH + 1)[0]) != set(expected[0])
    assert pairs[1] not in (pairs[0], set(expected[0]))


def test_pool_that_keeps_its_duplicates_exports_each_of_them(recipe, tmp_path):
    keeping = {**recipe, "curation": {"p": 0.9, "duplicates": "keep"}}
    pairs, _ = drawn(keeping)
    result = exported(keeping, tmp_path / "out", shards_per_file=NUM_SHARDS)
    assert max(Counter(pair_id for pair_id, _, _ in pairs).values()) > 1
    assert read_back(result) == pairs


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # the package leaves that to the collector
def test_webdataset_package_reads_the_pairs(recipe, reference, expected):
    files = [str(path) for path in sorted(Path(reference.uri).glob("*.tar"))]
    samples = list(webdataset.WebDataset(files, shardshuffle=False, empty_check=True))
    pairs = []
    for sample in samples:
        content = json.loads(sample["json"])
        [text] = content["texts"]
        assert text["text"] == sample["txt"].decode()
        assert sample["__key__"] == content["pair_id"]
        [image] = [sample[suffix] for suffix in ("jpg", "png", "webp") if suffix in sample]
        pairs.append((content["pair_id"], text["text"], image))
    assert pairs == expected[0]
    assert {json.loads(sample["json"])["texts"][0]["type"] for sample in samples} > {"title"}


def test_stage_that_writes_into_a_store_leaves_the_same_bytes(recipe, reference, in_store):
    config, spec = build_config(recipe), ExportSpec(epoch=EPOCH, format=ExportFormat.WEBDATASET)
    where = curate(config, progress=quiet).curated
    uri = f"s3://{BUCKET}/export"
    export.Export(config, where, spec, uri=uri)(export._files(load_manifest(config), spec))
    expected = {name: data for name, data in files_of(reference).items() if "/" in name}
    assert in_store.files(uri) == expected


def test_folder_that_holds_something_else_is_refused_and_left_as_it_is(recipe, reference, pool, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for out, message in [
        (tmp_path, "holds files"),
        (Path(reference.uri).parent, "another export"),
        (pool / "x", "in the pool"),
    ]:
        before = sorted(Path(out).rglob("*"))
        with pytest.raises(UserError, match=message):
            exported(recipe, out, epoch=EPOCH + 1)
        assert sorted(Path(out).rglob("*")) == before


@pytest.mark.parametrize(
    ("wrong", "message"), [({"epoch": -1}, "epoch -1"), ({"epoch": 2**31}, "epoch"), ({"shards_per_file": 0}, "shard")]
)
def test_export_of_what_there_is_not_is_an_error_for_the_user(recipe, wrong, message):
    with pytest.raises(UserError, match=message):
        exported(recipe, **wrong)


def test_pool_that_is_not_curated_with_this_configuration_is_not_exported(recipe):
    with pytest.raises(UserError, match="metaclip curate"):
        exported(recipe, overrides=["curation.p=0.11"])


@pytest.mark.slow  # the same kind of fault as in test_curate.py
def test_job_killed_and_run_again_repeats_no_finished_file(recipe, reference, tmp_path):
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    out = tmp_path / "out"
    options = ["--recipe", str(tmp_path / "recipe.yaml"), "--epoch", str(EPOCH), "--out", str(out), "--json"]
    command = [sys.executable, "-m", "ray_jobs.export_pool", *options]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("funnels/*.json")):
        assert time.monotonic() < deadline
        assert job.poll() is None
        time.sleep(0.01)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    finished = {path: path.stat().st_mtime_ns for path in out.glob("funnels/*.json")}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert summary["pairs"] == reference.num_pairs
    assert summary["bytes"] == reference.num_bytes
    whole = {name: data for name, data in files_of(reference).items() if not name.endswith(".partial")}
    found = {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {name: data for name, data in found.items() if not name.endswith(".partial")} == whole
