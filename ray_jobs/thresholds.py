"""`metaclip thresholds`: what other thresholds would do to a curated pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from pipelines.errors import UserError
from ray_jobs.options import DEFAULT_RECIPE, Json, Overrides, Recipe, Root, load, print_json, run_job
from ray_jobs.progress import StepBars, bars

if TYPE_CHECKING:
    from metaclip_core.estimates import Estimate
    from metaclip_core.whatif import Outlook
    from pipelines.config import RunConfig
    from pipelines.whatif import Dial, DialResult, WhatIfResult

P = Annotated[
    str | None, typer.Option("--p", metavar="P,P,…", help="Tail shares, ascending; default: what the recipe says.")
]
TEn = Annotated[str | None, typer.Option("--t-en", metavar="T,T,…", help="Or thresholds of English, ascending.")]
All = Annotated[bool, typer.Option("--all", help="Show every language, not the largest alone.")]

_LANGUAGES_SHOWN = 20
_MILLION = 1_000_000
_LARGEST_IN_FULL = 10 * _MILLION
_LEGEND = """\
tail, head: entries with fewer matches than t, and with t or more; matches: mentions of entries
kept matches: those that a draw keeps if each is drawn alone, Σ min(matches, t)
pairs: unique pairs that a draw keeps, each once for all its matches; {confidence:.0%} of draws lie in the range
sample: {sample_uri}"""

Number = TypeVar("Number", int, float)


def command(
    recipe: Recipe = DEFAULT_RECIPE,
    overrides: Overrides = None,
    root: Root = None,
    p: P = None,
    t_en: TEn = None,
    *,
    every_language: All = False,
    json: Json = False,
) -> None:
    """Say what other thresholds would keep of a curated pool. Only the first time reads its annotations."""
    from pipelines.whatif import ask

    config = load(recipe, overrides, root)
    dials = read_dials(config, p=p, t_en=t_en)
    with bars() as progress:
        result = ask(config, dials, progress=StepBars(progress))
    for of_dial in result.dials:
        show(of_dial, num_languages=len(of_dial.outlook.languages) if every_language else _LANGUAGES_SHOWN)
    typer.echo(_LEGEND.format(confidence=result.confidence, sample_uri=result.sample_uri))
    if json:
        print_json(summary(result))


def read_dials(config: RunConfig, *, p: str | None, t_en: str | None) -> list[Dial]:
    """The dials that the options name, or that of the recipe.

    Raises:
        UserError: both options are given, or one is no ascending list of possible values.
    """
    from pipelines.whatif import Dial

    if p is not None and t_en is not None:
        raise UserError("give one of --p and --t-en: either sets the thresholds of all languages")
    if p is not None:
        shares = _ascending("--p", p, float)
        if not all(0 <= share <= 1 for share in shares):
            raise UserError(f"--p takes shares from 0 to 1, got {p!r}")
        return [Dial(p=share, t_en=None) for share in shares]
    if t_en is not None:
        counts = _ascending("--t-en", t_en, int)
        if counts[0] < 1:
            raise UserError(f"--t-en takes thresholds of at least 1, got {t_en!r}")
        return [Dial(p=None, t_en=count) for count in counts]
    return [Dial(p=config.curation.p, t_en=config.curation.t_en)]


def _ascending(option: str, text: str, number: Callable[[str], Number]) -> list[Number]:
    try:
        values = [number(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} takes numbers separated by commas, got {text!r}") from error
    if values != sorted(set(values)):
        raise UserError(f"{option} takes ascending numbers, got {text!r}")
    return values


def show(result: DialResult, *, num_languages: int) -> None:
    """Print the table of a dial: its largest languages, the others in one line, and all."""
    outlook = result.outlook
    given = f"t_en = {result.dial.t_en:,}, " if result.dial.t_en is not None else ""
    table = Table(
        title=f"{given}p = {result.p:.3g}",
        caption=f"of the pairs, {outlook.english_share:.1%} are English",
    )
    for heading in ("language", "t", "matches", "tail", "head", "kept matches", "pairs", "range"):
        table.add_column(heading, justify="left" if heading == "language" else "right")
    languages = list(outlook.languages.items())
    for language, of_language in languages[:num_languages]:
        pairs = of_language.pairs
        table.add_row(language, _short(outlook.t[language]), *_counts([of_language]), _short(pairs.mean), _range(pairs))
    if rest := [of_language for _, of_language in languages[num_languages:]]:
        mean = sum(of_language.pairs.mean for of_language in rest)
        table.add_row(f"{len(rest)} more", "", *_counts(rest), _short(mean), "")
    table.add_section()
    pairs = outlook.total.pairs
    table.add_row("all", "", *_counts([outlook.total]), _short(pairs.mean), _range(pairs))
    Console().print(table)


def _counts(outlooks: list[Outlook]) -> list[str]:
    names = ("matches", "tail_entries", "head_entries", "kept_matches")
    return [_short(sum(getattr(outlook, name) for outlook in outlooks)) for name in names]


def _range(pairs: Estimate) -> str:
    return f"{_short(pairs.low)}–{_short(pairs.high)}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number < _LARGEST_IN_FULL else f"{number / _MILLION:,.1f} M"


def summary(result: WhatIfResult) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "sample_uri": result.sample_uri,
        "confidence": result.confidence,
        "dials": [
            {
                "t_en": of_dial.dial.t_en,
                "p": of_dial.p,
                "english_share": of_dial.outlook.english_share,
                "total": dataclasses.asdict(of_dial.outlook.total),
                "languages": {
                    language: {"t": of_dial.outlook.t[language], **dataclasses.asdict(of_language)}
                    for language, of_language in of_dial.outlook.languages.items()
                },
            }
            for of_dial in result.dials
        ],
    }


if __name__ == "__main__":
    run_job(command)
