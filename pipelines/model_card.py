"""The card of a trained model: what it was made from, and under which licence its beginnings were published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import yaml

from metaclip_core.model_folder import read_licence
from pipelines import storage
from pipelines.config import RunConfig
from pipelines.curated import Curated
from pipelines.tasks import is_headline

_CARD = """---
{matter}---

# {run_name}

A CLIP model of shape {preset}, trained by Worldwide CLIP on Ray on {seen:,} pairs of pool {pool!r}.

- Curation: {curation}; what was kept and left out is on its data card.
- Text: {text}
- Weights before training: {start}

Meant for research into worldwide vision and language: zero-shot classification and retrieval. It has seen the web, and
says what the web says; its scores per language are in the report of its run.
"""


_SCORES = "## Scores"
_HEADER = f"""{_SCORES}

Of run {{run}}. What it was trained on: {{data_card}}

| set | language | measure | % |
|---|---|---|---|
"""


def with_scores(card: str, metrics: Mapping[str, float], *, run: str, data_card: str) -> str:
    """A model card with what its model was measured at; scores that it had before are replaced."""
    lines = []
    for name, value in sorted(metrics.items()):
        parts = name.split("/")
        if parts[0] == "eval" and len(parts) == 4 and is_headline(parts[3]):  # noqa: PLR2004 - set, language, measure
            lines.append(f"| {parts[1]} | {parts[2]} | {parts[3]} | {100 * value:.1f} |")
    rows = "\n".join(lines)
    return f"{card.partition(_SCORES)[0].rstrip()}\n\n{_HEADER.format(run=run, data_card=data_card)}{rows}\n"


def write_model_card(folder: Path, config: RunConfig, curated: Curated, run_name: str) -> None:
    """Write README.md. A licence is stated where weights were published under one; else whoever publishes chooses."""
    training, pretrained = config.training, config.model.pretrained
    matter: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "zero-shot-image-classification"}
    start = "none, fresh ones"
    if pretrained is not None:
        with storage.local_copy(storage.absolute(pretrained, base=config.root)) as source:
            licence = read_licence(source)
        start = f"{pretrained}, {f'licence: {licence}' if licence else 'which states no licence'}"
        matter |= {"license": "other", "license_name": licence} if licence else {}
    named = pretrained or config.model.tokenizer
    content = _CARD.format(
        matter=yaml.safe_dump(matter, sort_keys=False),
        run_name=run_name,
        preset=config.model.preset,
        seen=training.steps * training.global_batch_size,
        pool=curated.pool,
        curation=curated.version,
        text=f"the tokenizer of {named}" if named else "a tokenizer trained on the captions drawn",
        start=start,
    )
    (folder / "README.md").write_text(content, encoding="utf-8")
