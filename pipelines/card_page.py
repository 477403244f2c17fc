"""The data card as a page that stands alone: no script, no outside asset, no date.

Captions, entries, kinds and names come from the web: the template escapes all of them. What goes in as it is was made
here: plots, and pictures as `data:` URIs of JPEGs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from metaclip_core.balancing import ENGLISH
from metaclip_core.card.captions import CaptionFacts, Histogram
from metaclip_core.card.card import Card, LanguageCard
from metaclip_core.counting import Counts
from metaclip_core.plots import entry_curve, histogram, share_shift
from metaclip_core.records import DropReason, Stage
from pipelines.pages import ABOUT_STAGES, template
from pipelines.pictures import Picture

_PLOTTED_LANGUAGES = 40
_PLOTTED_CURVES = 12
_PICTURED_LANGUAGES = 12
_OPEN_LANGUAGES = 6
_UNSURE = 0.5
_ALL = "all"
_FATES = ((None, "drawn"), (DropReason.NOT_DRAWN, "not drawn"), (DropReason.NO_MATCH, "mentions no entry"))


@dataclass(frozen=True)
class _Plot:
    title: str
    svg: Markup


def pictured(card: Card) -> list[LanguageCard]:
    """The languages whose examples the page shows."""
    return [language for language in card.languages if language.examples][:_PICTURED_LANGUAGES]


def card_page(card: Card, *, version: str, matches: Mapping[str, Counts], pictures: Mapping[str, Picture]) -> str:
    """The page as HTML. The same input gives the same text.

    Args:
        card: what is shown.
        version: of the thresholds.
        matches: of the entries of each language that has a threshold.
        pictures: by pair id, of all examples of the languages `pictured`.
    """
    duplicates = [line["dropped"].get(DropReason.DUPLICATE, 0) for line in card.funnel if _is_of_duplicates(line)]
    return template("card.html").render(
        card=card,
        version=version,
        mentioned=sum(language.entries.mentioned for language in card.languages),
        english=next((language for language in card.languages if language.language == ENGLISH), None),
        duplicates=duplicates[0] if duplicates else None,
        about_stages=ABOUT_STAGES,
        funnel_lines=card.funnel,
        plotted_languages=_PLOTTED_LANGUAGES,
        shift=_shift(card),
        curves=_curves(card, matches),
        histograms=_histograms(card),
        texts=_texts(card),
        pictured=pictured(card),
        open_languages=_OPEN_LANGUAGES,
        pictures=pictures,
        fates=_FATES,
    )


def _is_of_duplicates(line: Mapping[str, object]) -> bool:
    return line["stage"] == Stage.DEDUPLICATE


def _shift(card: Card) -> Markup | None:
    shares = {
        language.language: (language.share_captions, language.share_expected)
        for language in card.languages[:_PLOTTED_LANGUAGES]
        if language.captions
    }
    return _safe(share_shift(shares, highlight=ENGLISH)) if shares else None


def _curves(card: Card, matches: Mapping[str, Counts]) -> list[_Plot]:
    """The largest languages that have a threshold, on common axes."""
    thresholds = {language.language: language.t for language in card.languages if language.t is not None}
    shown = dict(list(thresholds.items())[:_PLOTTED_CURVES])
    facts = {language.language: language.entries for language in card.languages if language.language in shown}
    max_rank = max((of_language.mentioned for of_language in facts.values()), default=1)
    max_count = max((max(facts[name].top[0][1], t) for name, t in shown.items()), default=1)
    return [
        _Plot(name, _safe(entry_curve(matches[name], t=t, max_rank=max_rank, max_count=max_count)))
        for name, t in shown.items()
    ]


def _histograms(card: Card) -> list[_Plot]:
    plotted: list[tuple[str, Histogram, str]] = [
        ("Lengths", card.lengths, "characters, from"),
        ("Identifier's confidence", card.text.scores, "score, from"),
    ]
    return [
        _Plot(title, _safe(histogram(shown.shares, edges=shown.edges, label=label))) for title, shown, label in plotted
    ]


def _texts(card: Card) -> list[tuple[str, CaptionFacts, float]]:
    """All captions and those of each language, with the share of which the identifier is unsure."""
    facts = [(language.language, language.text) for language in card.languages if language.text is not None]
    return [(name, text, _unsure(text.scores)) for name, text in [(_ALL, card.text), *facts]]


def _unsure(scores: Histogram) -> float:
    return sum(share for edge, share in zip(scores.edges, scores.shares, strict=True) if edge < _UNSURE)


def _safe(svg: str) -> Markup:
    """A plot: matplotlib has escaped its texts."""
    return Markup(svg)  # noqa: S704
