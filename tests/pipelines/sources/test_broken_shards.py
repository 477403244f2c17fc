"""Hundreds of broken shards: no crash, each accounted for, neighbours untouched, memory bounded."""

import tracemalloc

import pyarrow as pa
import pytest

from metaclip_core.funnel import Funnel
from metaclip_core.records import PAIR
from pipelines.config.pool import PoolConfig
from pipelines.sources.webdataset import WebDatasetSource
from tests.pipelines.sources.broken_shards import (
    MAX_CAPTION_CHARS,
    MAX_IMAGE_BYTES,
    MAX_METADATA_BYTES,
    broken_shards,
)
from tests.pipelines.sources.raw_pairs import assert_reads_the_same, read_pairs

SHARDS = broken_shards()
LIMITS = PoolConfig(
    max_image_bytes=MAX_IMAGE_BYTES, max_metadata_bytes=MAX_METADATA_BYTES, max_caption_chars=MAX_CAPTION_CHARS
)


def read(folder, shard):
    """Pairs and funnel of a shard."""
    (folder / f"a{shard.suffix}").write_bytes(shard.data)
    source, funnel = WebDatasetSource(LIMITS, uri=str(folder)), Funnel()
    tables = source.read_captions(f"a{shard.suffix}", shard=0, batch_rows=2, funnel=funnel)
    return pa.concat_tables([PAIR.empty_table(), *tables]).to_pylist(), funnel


def test_there_are_enough_of_them():
    assert len(SHARDS) >= 300


@pytest.mark.parametrize("name", SHARDS)
def test_broken_shard_keeps_its_neighbours_and_is_accounted_for(tmp_path, name):
    pairs, funnel = read(tmp_path, SHARDS[name])
    assert [caption["text"] for pair in pairs for caption in pair["captions"]] == SHARDS[name].kept
    assert {at: rows for at, rows in funnel.dropped.items() if rows} == SHARDS[name].dropped
    for record in funnel.to_records():
        assert record["rows_out"] >= 0


def read_whole(folder, shard):
    """Pairs, images and funnel of a shard, read once."""
    (folder / f"a{shard.suffix}").write_bytes(shard.data)
    return read_pairs(WebDatasetSource(LIMITS, uri=str(folder)), f"a{shard.suffix}")


def test_every_broken_shard_read_whole_gives_what_its_captions_and_its_images_give(tmp_path):
    for name, shard in SHARDS.items():
        (tmp_path / f"{name}{shard.suffix}").write_bytes(shard.data)
        assert_reads_the_same(WebDatasetSource(LIMITS, uri=str(tmp_path)), f"{name}{shard.suffix}")


def test_memory_of_reading_the_largest_is_a_few_pieces(tmp_path):
    largest = sorted(SHARDS.values(), key=lambda shard: -len(shard.data))[:6]
    for shard in [*largest, SHARDS["gz-bomb"]]:
        for reads in (read, read_whole):
            tracemalloc.start()
            reads(tmp_path, shard)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 8 << 20, shard.name
