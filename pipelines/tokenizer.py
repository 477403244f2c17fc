"""The run's tokenizer: that of published weights, one that the recipe names, or one trained for it.

It is trained on captions as the run will see them: drawn, so that no language is drowned.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from metaclip_core.captions import save_tokenizer, special_ids, train_tokenizer
from metaclip_core.tokenizer_folder import load_tokenizer
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curate import CurationResult
from pipelines.draw_captions import apply_draw_captions
from pipelines.errors import UserError
from pipelines.manifest import Manifest


def make_tokenizer(config: RunConfig, curation: CurationResult, manifest: Manifest, *, uri: str) -> None:
    """Store the tokenizer's folder at `uri`. Training one needs a Ray cluster.

    Raises:
        UserError: the folder that the recipe names holds no tokenizer that can frame captions.
    """
    named = config.model.pretrained or config.model.tokenizer
    if named is not None:
        _copy_tokenizer(storage.absolute(named, base=config.root), uri)
        return
    share = min(1.0, config.model.tokenizer_captions / sum(curation.expected.values()))
    shards = manifest.dataset(max_blocks=config.compute.shard_blocks)
    drawn = apply_draw_captions(shards, config, curation.curated, share=share)
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
