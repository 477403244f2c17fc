"""Write the sample "worldwide numbers": shards, truth, metadata, evaluation sets, and last its marker."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from metaclip_core.sample.digits import split_scans
from metaclip_core.sample.evaluation import evaluation_files
from metaclip_core.sample.furniture import SAMPLE_FATES, TEXT_FATES
from metaclip_core.sample.metadata import metadata_files
from metaclip_core.sample.publishing import publish
from metaclip_core.sample.samples import Sample, SamplePool

REVISION = 1  # raised when the same parameters give another sample
MARKER = "sample.json"
USABLE = "usable"

TRUTH = pa.schema(
    [
        ("shard", pa.string()),  # file name
        ("key", pa.string()),
        ("row", pa.int32()),  # in the shard
        ("url", pa.string()),
        ("number", pa.int32()),
        ("scans", pa.list_(pa.int32())),
        (
            "texts",
            pa.list_(
                pa.struct(
                    [
                        ("kind", pa.string()),
                        ("content", pa.string()),  # number, boilerplate or nothing
                        ("languages", pa.list_(pa.string())),  # metadata languages that say the number
                        ("fate", pa.string()),  # `usable`, or the DropReason expected
                    ]
                )
            ),
        ),
        ("furniture", pa.string()),
        ("fate", pa.string()),  # `usable`, or the DropReason expected
    ]
)


def write_sample(
    filesystem: pafs.FileSystem,
    path: str,
    *,
    num_images: int = 20_000,
    shard_rows: int = 500,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Write the sample below `path`; a complete one of the same parameters is left as it is.

    The bytes of every file follow from the parameters and the versions of the libraries that make them. What an
    interrupted call has left is overwritten.

    Args:
        filesystem: where `path` lies.
        path: folder of the sample, alone in it.
        num_images: samples of the pool, the broken ones counted.
        shard_rows: samples of a tar shard.
        seed: not negative.
        progress: is told the number of samples written so far, after each shard.

    Raises:
        FileExistsError: another sample, or shards of one, lie at `path`.
        ValueError: a number of images or rows that is not positive, or a negative seed.
    """
    if num_images < 1 or shard_rows < 1 or seed < 0:
        raise ValueError(f"no sample of {num_images} images in shards of {shard_rows} with seed {seed} can be made")
    path = path.rstrip("/")
    parameters = {"revision": REVISION, "num_images": num_images, "shard_rows": shard_rows, "seed": seed}
    pool = SamplePool(num_images=num_images, shard_rows=shard_rows, seed=seed)
    if _is_complete(filesystem, path, parameters, {_shard_name(shard) for shard in range(pool.num_shards)}):
        return
    digests: dict[str, str] = {}
    truth: list[dict[str, Any]] = []
    for shard in range(pool.num_shards):
        name = _shard_name(shard)
        samples = [pool.sample(index) for index in pool.shard_indices(shard)]
        digests[name] = publish(filesystem, f"{path}/{name}", _tar(samples))
        truth.extend(_truth(sample, shard_name=name, row=row) for row, sample in enumerate(samples))
        if progress is not None:
            progress(len(truth))
    files = {
        "truth.parquet": _parquet(truth),
        **{f"metadata/{name}": data for name, data in metadata_files().items()},
        **{f"evaluation/{name}": data for name, data in evaluation_files(seed).items()},
    }
    for name, data in files.items():
        digests[name] = publish(filesystem, f"{path}/{name}", data)
    split = split_scans(seed)
    marker = {
        **parameters,
        "num_shards": pool.num_shards,
        "num_pool_scans": len(split.pool.ids),
        "num_held_out_scans": len(split.held_out.ids),
        "sha256": digests,
    }
    publish(filesystem, f"{path}/{MARKER}", json.dumps(marker, indent=1).encode())


def _shard_name(shard: int) -> str:
    return f"{shard:05d}.tar"


def _is_complete(filesystem: pafs.FileSystem, path: str, parameters: dict[str, int], shard_names: set[str]) -> bool:
    """Whether the sample of `parameters` is at `path`, with its marker.

    Raises:
        FileExistsError: another one is.
    """
    infos = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    names = {info.base_name for info in infos}
    if MARKER in names:
        with filesystem.open_input_stream(f"{path}/{MARKER}") as stream:
            found = json.loads(stream.read())
        there = {name: found.get(name) for name in parameters}
        if there == parameters:
            return True
        raise FileExistsError(f"{path} holds a sample made with {there}, not with {parameters}: choose another path")
    strangers = sorted(name for name in names if name.endswith(".tar") and name not in shard_names)
    if strangers:
        raise FileExistsError(f"{path} holds {strangers[0]}, which is no shard of this sample: choose another path")
    return False


def _tar(samples: Iterable[Sample]) -> bytes:
    """A tar archive of the members of `samples`; it carries no times, owners or other traces of the machine."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for sample in samples:
            for suffix, data in ((sample.suffix, sample.image), ("json", sample.document)):
                if data is not None:
                    header = tarfile.TarInfo(f"{sample.key}.{suffix}")
                    header.size = len(data)
                    archive.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def _truth(sample: Sample, *, shard_name: str, row: int) -> dict[str, Any]:
    """The row of TRUTH about `sample`."""
    lost = TEXT_FATES.get(sample.furniture, {})
    return {
        "shard": shard_name,
        "key": sample.key,
        "row": row,
        "url": sample.url,
        "number": sample.number,
        "scans": sample.scans,
        "texts": [
            {
                "kind": text.kind,
                "content": text.content.value,
                "languages": text.languages,
                "fate": str(lost.get(text.kind, USABLE)),
            }
            for text in sample.texts
        ],
        "furniture": sample.furniture.value,
        "fate": str(SAMPLE_FATES.get(sample.furniture, USABLE)),
    }


def _parquet(truth: list[dict[str, Any]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(truth, TRUTH), buffer)
    return buffer.getvalue()
