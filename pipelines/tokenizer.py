"""The run's tokenizer: that of published weights, one that the recipe names, or one trained for it.

It is trained on captions as the run will see them: drawn, so that no language is drowned.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray
from transformers import PreTrainedTokenizerFast

from metaclip_core.captions import load_tokenizer, save_tokenizer, special_ids, train_tokenizer
from metaclip_core.draws import uniform
from metaclip_core.sampling import draw
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curate import CurationResult
from pipelines.curated import Curated
from pipelines.errors import UserError
from pipelines.manifest import Manifest
from pipelines.selection import read_unique
from pipelines.thresholds import load_tables

_PURPOSE = "tokenizer"
_EPOCH = 0


class DrawCaptions:
    """Shards → some of the captions that the first epoch draws."""

    def __init__(self, curated: Curated, *, seed: int, share: float) -> None:
        self._curated = curated
        self._tables = load_tables(curated)
        self._seed = seed
        self._share = share

    def __call__(self, shards: pa.Table) -> pa.Table:
        """A column `caption`."""
        return pa.concat_tables(self._captions(shard) for shard in shards["shard"].to_pylist())

    def _captions(self, shard: int) -> pa.Table:
        annotated = read_unique(self._curated, shard, columns=["pair_id", "row", "captions"])
        drawn = draw(annotated, self._tables, epoch=_EPOCH, seed=self._seed)
        ids = annotated["pair_id"].take(pa.array(drawn.row))
        chosen = uniform(ids, purpose=_PURPOSE, epoch=_EPOCH, seed=self._seed) < self._share
        return pa.table({"caption": drawn.caption.filter(pa.array(np.asarray(chosen, bool)))})


def make_tokenizer(config: RunConfig, curation: CurationResult, manifest: Manifest, *, uri: str) -> None:
    """Store the tokenizer's folder at `uri`. Training one needs a Ray cluster.

    Raises:
        UserError: the folder that the recipe names holds no tokenizer that can frame captions.
    """
    named = config.model.pretrained or config.model.tokenizer
    if named is not None:
        _copy_tokenizer(storage.absolute(named, base=config.root), uri)
        return
    expected = sum(curation.expected.values())
    drawn = manifest.dataset(max_blocks=config.compute.shard_blocks).map_batches(
        DrawCaptions,
        fn_constructor_args=(curation.curated,),
        fn_constructor_kwargs={"seed": config.seed, "share": min(1.0, config.model.tokenizer_captions / expected)},
        batch_format="pyarrow",
        batch_size=8,
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=config.compute.max_actors),
        udf_modifying_row_count=True,
    )
    captions = [row["caption"] for row in drawn.iter_rows()]
    _store(train_tokenizer(captions, vocab_size=config.model.vocab_size), uri)


def _copy_tokenizer(source_uri: str, uri: str) -> None:
    with storage.local_copy(source_uri) as folder:
        try:
            tokenizer = load_tokenizer(folder)
            special_ids(tokenizer)
        except (ValueError, OSError) as error:
            raise UserError(f"{source_uri} holds no tokenizer for captions: {storage.first_line(error)}") from error
    _store(tokenizer, uri)


def _store(tokenizer: PreTrainedTokenizerFast, uri: str) -> None:
    with tempfile.TemporaryDirectory(prefix="metaclip-") as folder:
        save_tokenizer(tokenizer, Path(folder))
        storage.upload_folder(Path(folder), uri)
