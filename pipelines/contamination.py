"""Contamination: pairs whose image looks like one of a benchmark, which a model is to be measured on, are left out.

What is left out is listed, a file for each shard that has any, with the image that it looks like.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from metaclip_core.neighbours import Looks, is_complete
from metaclip_core.records import CONTAMINATION, DropReason, Stage
from pipelines import storage
from pipelines.benchmark_hashes import Benchmarks, hash_file_digest
from pipelines.config import RunConfig
from pipelines.hash_images import read_hashes

REVISION = 1


def benchmark_uris(config: RunConfig) -> list[str]:
    """The recipe's hash files, absolute."""
    return [storage.absolute(uri, base=config.root) for uri in config.curation.benchmarks]


def contamination_version(config: RunConfig, *, hashes: str) -> str | None:
    """The version of the lists; None where the recipe names no benchmark.

    Raises:
        UserError: a hash file can't be read.
    """
    uris = benchmark_uris(config)
    if not uris:
        return None
    digests = [hash_file_digest(uri) for uri in uris]
    distance = config.curation.benchmark_distance
    return storage.version_of(
        "contamination", REVISION, hashes=hashes, uris=uris, benchmarks=digests, distance=distance
    )


def find_contaminated(
    pairs: pa.Table, hashes: pa.Table, benchmarks: Benchmarks, *, shard: int, distance: int
) -> pa.Table:
    """CONTAMINATION of the pairs of a shard, by row. Pure; a pair's fate depends on its image alone.

    Args:
        pairs: columns pair_id and row.
        hashes: IMAGE_HASH of the shard.
        benchmarks: what they must not look like.
        shard: its number.
        distance: in bits.
    """
    rows = pairs["row"].combine_chunks()
    hashes = hashes.filter(pc.and_(is_complete(hashes), pc.is_in(hashes["row"], value_set=rows)))
    looks = Looks.from_table(hashes, hashes["row"].to_numpy().astype(np.int64))
    nearest = benchmarks.index.nearest(looks, distance=distance)
    row = pa.array(nearest.image, pa.int32())
    like = benchmarks.names.take(pa.array(nearest.row))
    columns = {
        "pair_id": pairs["pair_id"].take(pc.index_in(row, value_set=rows)),
        "shard": pa.array(np.full(len(row), shard), pa.int32()),
        "row": row,
        "benchmark": like["benchmark"],
        "image": like["image"],
        "distance": pa.array(nearest.distance.data, pa.int32(), mask=np.ma.getmaskarray(nearest.distance)),
    }
    return pa.table(columns, schema=CONTAMINATION)


class ContaminationSieve:
    """Holds back what looks like an image of a benchmark, and lists it; holds the benchmarks' hashes."""

    stage = str(Stage.CONTAMINATION)

    def __init__(self, config: RunConfig, *, hashes_uri: str, contamination_uri: str) -> None:
        self._benchmarks = Benchmarks.load(benchmark_uris(config))
        self._distance = config.curation.benchmark_distance
        self._hashes_uri = hashes_uri
        self._contamination_uri = contamination_uri

    def judge(self, pairs: pa.Table, *, name: str, shard: int) -> pa.StringArray:  # noqa: ARG002 - a sieve's interface
        """Why each pair is held back, or null.

        Args:
            pairs: columns pair_id and row of the pairs of one shard.
            name: of the shard.
            shard: its number.
        """
        hashes = read_hashes(self._hashes_uri, shard)
        listed = find_contaminated(pairs, hashes, self._benchmarks, shard=shard, distance=self._distance)
        if listed.num_rows:
            storage.write_table(storage.shard_file(self._contamination_uri, shard), listed)
        held = pc.is_in(pairs["row"], value_set=listed["row"].combine_chunks()).combine_chunks()
        return pc.if_else(held, str(DropReason.CONTAMINATION), pa.scalar(None, pa.string()))


def read_contamination(contamination_uri: str, shards: Sequence[int]) -> pa.Table:
    """CONTAMINATION of some shards."""
    names = storage.list_names(contamination_uri)
    files = [storage.shard_file(contamination_uri, shard) for shard in shards]
    there = [storage.read_table(file) for file in files if file.rpartition("/")[2] in names]
    return pa.concat_tables([CONTAMINATION.empty_table(), *there])
