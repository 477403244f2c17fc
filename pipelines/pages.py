"""What all pages share: templates that escape what they are given, numbers as people read them, no secrets."""

from __future__ import annotations

import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from metaclip_core.records import Stage

_ONE_PERCENT = 0.01
_SMALLEST_SHOWN = 0.0001
_COMMON_CODE = re.compile("[a-z]{2,3}")
_USERINFO = re.compile(r"(?<=://)(?:[^/?#\s:]*:\S*@|[^/?#\s]*@)")
_SECRET = re.compile(r"(?i)(?<=[?&])([^=&\s]*(?:password|secret|token|key)[^=&\s]*)=[^&\s]*")


ABOUT_STAGES = {
    Stage.SHARDS: "files of the pool",
    Stage.READ: "samples → pairs of an image and its captions",
    Stage.CAPTIONS: "captions of these pairs",
    Stage.BLOCK: "pairs → pairs that no block list names",
    Stage.OPT_OUT: "pairs → pairs that no opt-out list names",
    Stage.CONTAMINATION: "pairs → pairs whose image looks like none of a benchmark",
    Stage.DEDUPLICATE: "pairs → unique pairs",
    Stage.NEAR: "unique pairs → pairs whose image looks like no earlier one",
    Stage.MATCH: "unique pairs → pairs that mention an entry",
}


def template(name: str) -> Template:
    """A template of `pipelines/templates`, with the filters count, percent, words, redact and tag."""
    environment = Environment(
        loader=PackageLoader("pipelines"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": _count, "percent": _percent, "words": words, "redact": redact, "tag": _tag}
    return environment.get_template(name)


def words(name: str) -> str:
    """`text_to_image_recall1` → "text to image recall@1", `top1` → "top-1"; others lose their underscores."""
    name = re.sub(r"^few_shot(\d+)$", r"\1 shots", name)
    return re.sub(r"^top(?=\d)", "top-", re.sub(r"recall(?=\d)", "recall@", name)).replace("_", " ")


def redact(text: str) -> str:
    """Without the user, password and secret parameters of a URI."""
    return _SECRET.sub(r"\1=***", _USERINFO.sub("", text))


def without_secrets(content: Any) -> Any:  # noqa: ANN401 - any JSON
    """`content` with every text redacted."""
    if isinstance(content, dict):
        return {key: without_secrets(value) for key, value in content.items()}
    if isinstance(content, list):
        return [without_secrets(value) for value in content]
    return redact(content) if isinstance(content, str) else content


def _tag(language: str) -> str:
    """The value of a `lang` attribute, by which a browser chooses its letters; empty where it knows no language."""
    code = language.partition("_")[0]
    return code if _COMMON_CODE.fullmatch(code) else ""


def _count(number: float) -> str:
    return f"{number:,.0f}"


def _percent(share: float) -> str:
    if 0 < share < _SMALLEST_SHOWN:
        return "<0.01%"
    return f"{share:.2%}" if 0 < share < _ONE_PERCENT else f"{share:.1%}"
