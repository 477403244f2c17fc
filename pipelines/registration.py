"""A finished run as a version of a registered model, with a card that tells its scores."""

from __future__ import annotations

from collections.abc import Mapping

from pipelines import storage
from pipelines.config import RunConfig
from pipelines.model_card import with_scores
from pipelines.runs import load_record, load_result

CHAMPION = "champion"  # the alias of the best
_MODEL = "model"
_CARD = "README.md"


def register(
    config: RunConfig, model: str, metrics: Mapping[str, float], *, data_card: str, alias: str | None = None
) -> int:
    """Register the recipe's finished run; its version.

    Args:
        config: the recipe of the run.
        model: name of the registered model.
        metrics: of the run, by name.
        data_card: the page of its pool, which the model's card names.
        alias: names this version from now on.

    Raises:
        UserError: the run is not finished, or the tracking server does not answer.
    """
    result = load_result(config)
    record = load_record(config, result)
    with storage.local_copy(result.model_uri) as folder:
        card = with_scores(
            (folder / _CARD).read_text(encoding="utf-8"), metrics, run=result.run_name, data_card=data_card
        )
        (folder / _CARD).write_text(card, encoding="utf-8")
        storage.write_bytes(storage.join(result.model_uri, _CARD), card.encode())
        record.log_folder(folder, _MODEL)
    return record.register(model, _MODEL, alias=alias, description=card)
