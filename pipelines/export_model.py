"""A trained model for other programs."""

from __future__ import annotations

import tempfile
from pathlib import Path

from metaclip_core.export import save_open_clip
from metaclip_core.model_folder import load_model
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.errors import UserError
from pipelines.runs import load_result


def export_open_clip(config: RunConfig, model_uri: str | None, *, out_uri: str) -> None:
    """Write open_clip's checkpoint, configuration and tokenizer.

    Args:
        config: the recipe.
        model_uri: a Hugging Face folder; None: the model of the recipe's finished run.
        out_uri: the folder to write.

    Raises:
        UserError: there is no such model.
    """
    uri = model_uri or load_result(config).model_uri
    if not storage.exists(storage.join(uri, "config.json")):
        raise UserError(f"no model at {uri}: it holds no config.json")
    with storage.local_copy(uri) as source, tempfile.TemporaryDirectory(prefix="metaclip-") as folder:
        try:
            model, tokenizer = load_model(source)
        except ValueError as error:
            raise UserError(str(error)) from error
        save_open_clip(model, tokenizer, Path(folder))
        storage.upload_folder(Path(folder), out_uri)
