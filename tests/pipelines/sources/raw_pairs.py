"""A shard read with its images, against its captions and images read apart."""

import pyarrow as pa

from metaclip_core.funnel import Funnel
from metaclip_core.records import PAIR, check


def read_pairs(source, name, *, batch_rows=1000, batch_bytes=20_000):
    """Pairs as dicts, their images and the funnel of a shard; batches must keep to their limits."""
    funnel, tables, images = Funnel(), [PAIR.empty_table()], []
    batches = source.read_pairs(name, shard=3, batch_rows=batch_rows, batch_bytes=batch_bytes, funnel=funnel)
    for pairs in batches:
        tables.append(check(pairs.table, PAIR, stage="test"))
        found = list(pairs.images(range(pairs.table.num_rows)))
        sizes = [len(image) for image in found if isinstance(image, bytes)]
        assert 0 < len(found) <= batch_rows
        assert sum(sizes) <= batch_bytes or len(sizes) == 1
        assert list(pairs.images(range(0, len(found), 2))) == found[::2]
        assert list(pairs.images([])) == []
        images += found
    return pa.concat_tables(tables).to_pylist(), images, funnel


def assert_reads_the_same(source, name, **limits):
    """Whether pairs, images and funnel are those of `read_captions` and `read_images`."""
    funnel = Funnel()
    tables = source.read_captions(name, shard=3, batch_rows=1000, funnel=funnel)
    pairs = pa.concat_tables([PAIR.empty_table(), *tables])
    places = pairs["image_offset"].to_pylist(), pairs["image_length"].to_pylist()
    images = list(source.read_images(name, *places)) if pairs.num_rows else []
    assert read_pairs(source, name, **limits) == (pairs.to_pylist(), images, funnel)
