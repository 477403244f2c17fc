"""Plots of a report as SVG text: the same input gives the same bytes.

Colours are CSS variables with a fallback (`var(--plot-text, #1f2328)`), so that a page that sets them recolours the
plots, in dark mode too, while a plot alone still looks right. Widths suit a phone; one unit is one CSS pixel. Labels
may come from the web: they are written in ASCII, with escapes for the rest, and never read as TeX.
"""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from matplotlib.typing import LineStyleType
from numpy.typing import ArrayLike

from metaclip_core.balancing import head_tail

_COLOURS = {
    "text": "#1f2328",
    "muted": "#6e7781",
    "rule": "#d0d7de",
    "bar": "#a9bdd3",
    "head": "#2f6ca8",
    "tail": "#b8731f",
}
_WIDTH = 380.0
_FONT = 10.5
_ROW = 16.0  # height of one language
_CURVE_HEIGHT = 240.0
_CURVE_POINTS = 300
_HISTOGRAM_HEIGHT = 190.0
_SQUARE_HEIGHT = 358.0  # that makes a panel square
_LEAST_TOP = 0.01  # of a histogram's axis
_MAX_TICKS = 12
_LABEL_CHARS = 12  # zh_classical
_NAME_CHARS = 24  # of a model
_LABEL_WIDTH = 72.0
_NAME_WIDTH = 92.0  # of a class
_WIDE_LABEL_CHARS = 30
_WIDE_LABEL_WIDTH = 187.0
_LAW_HEIGHT = 240.0
_GROUPS = ("head", "tail", "muted", "text")
_SIZES: tuple[tuple[str, LineStyleType], ...] = (("o", "-"), ("s", "--"), ("^", ":"), ("D", "-."))
_MAX_TRIED = 6
_UNIT = 72  # units of the SVG in an inch
_RC: dict[Any, Any] = {
    "svg.hashsalt": "worldwide-clip",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": _FONT,
    "font.sans-serif": ["DejaVu Sans", "sans-serif"],
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


class Curve(NamedTuple):
    """Points and the line through them, empty where there is none, each of (pairs, error)."""

    points: Sequence[tuple[float, float]]
    line: Sequence[tuple[float, float]]


def entry_curve(counts: ArrayLike, *, t: int, max_rank: int, max_count: int) -> str:
    """Matches by the rank of their entry, both logarithmic, with t as a line and the tail shaded.

    Args:
        counts: matches of each entry, int[n], not all zero.
        t: the threshold of the language.
        max_rank: end of the x axis, so that several curves can share it.
        max_count: largest count on the y axis; it has to hold t too.
    """
    split = head_tail(counts, t=t)
    matches = np.asarray(counts)
    ranked = np.sort(matches[matches > 0])[::-1]
    # rounding to ranks keeps the first and last, and thins out the many that share a pixel
    ranks = np.unique(np.geomspace(1, len(ranked), _CURVE_POINTS).round().astype(np.int64))
    with mpl.rc_context(_RC):
        figure, axes = _panel(_CURVE_HEIGHT, left=46, right=74, top=38, bottom=38)
        axes.set(xscale="log", yscale="log", xlim=(0.9, max_rank * 1.2), ylim=(0.6, max_count * 1.6))
        axes.set_xlabel("entries, most frequent first", color=_COLOURS["muted"])
        axes.set_ylabel("matches", color=_COLOURS["muted"], labelpad=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(numticks=7))
            axis.set_major_formatter(FuncFormatter(lambda value, _: _compact(value)))
            axis.set_minor_locator(NullLocator())
        axes.grid(color=_COLOURS["rule"], linewidth=0.6)
        if split.tail_entries:
            axes.axvspan(split.head_entries + 0.5, len(ranked) + 0.5, color=_COLOURS["tail"], alpha=0.16, linewidth=0)
        axes.axhline(t, color=_COLOURS["tail"], linewidth=1.2)
        axes.plot(
            ranks, ranked[ranks - 1], color=_COLOURS["head"], linewidth=1.8, marker="." if len(ranks) == 1 else ""
        )
        axes.annotate(
            f"t = {t:,}", (1, t), xycoords=("axes fraction", "data"), xytext=(4, 0), textcoords="offset points",
            va="center", color=_COLOURS["tail"],
        )  # fmt: skip
        for line, (part, entries, share) in enumerate(
            [("head", split.head_entries, 1 - split.tail_share), ("tail", split.tail_entries, split.tail_share)]
        ):
            noun = "entry" if entries == 1 else "entries"
            axes.annotate(
                f"{part}: {entries:,} {noun}, {_percent(share)} of matches", (0, 1), xycoords="axes fraction",
                xytext=(0, 22 - 14 * line), textcoords="offset points", color=_COLOURS[part],
            )  # fmt: skip
        return _svg(figure)


def language_bars(
    shares: Mapping[str, float], *, highlight: str, mean: float | None = None, chance: float | None = None
) -> str:
    """A bar for each language, best first, with its value beside it.

    Args:
        shares: language → a value in [0, 1]; at least one.
        highlight: the language that stands out.
        mean: marked with a dashed line.
        chance: what a guess is right at; marked with a dotted line.
    """
    ordered = sorted(shares, key=lambda language: (shares[language], language))
    with mpl.rc_context(_RC):
        figure, axes = _language_panel(ordered, right=50, top=22, bottom=22)
        colours = [_COLOURS["head" if language == highlight else "bar"] for language in ordered]
        axes.barh(range(len(ordered)), [shares[language] for language in ordered], height=0.72, color=colours)
        axes.set(xlim=(0, 1))
        axes.xaxis.set_major_locator(NullLocator())
        axes.axvline(0, color=_COLOURS["muted"], linewidth=0.8)
        _values(axes, [f"{100 * shares[language]:.1f}%" for language in ordered])
        for label, value, edge, style in [("mean", mean, 1, "--"), ("chance", chance, 0, ":")]:
            if value is not None:
                axes.axvline(value, color=_COLOURS["text"], linewidth=1.0, linestyle=style)
                axes.annotate(
                    f"{label} {100 * value:.1f}%", (value, edge), xycoords=("data", "axes fraction"),
                    xytext=(0, 5 if edge else -5), textcoords="offset points", color=_COLOURS["text"],
                    ha=_towards_centre(value), va="bottom" if edge else "top",
                )  # fmt: skip
        return _svg(figure)


def share_shift(shares: Mapping[str, tuple[float, float]], *, highlight: str) -> str:
    """For each language its share before and after balancing, on a logarithmic axis, in the order given.

    A share of zero has no place on the axis: it stands among the numbers alone.

    Args:
        shares: language → share before and share after, in [0, 1]; at least one before is not zero.
        highlight: the language that stands out.
    """
    ordered = list(shares)[::-1]
    positive = [share for pair in shares.values() for share in pair if share > 0]
    with mpl.rc_context(_RC):
        figure, axes = _language_panel(ordered, right=104, top=26, bottom=22)
        axes.set(xscale="log", xlim=(min(positive) / 1.4, max(positive) * 1.4))
        axes.xaxis.set_major_locator(LogLocator(numticks=6))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.grid(axis="x", color=_COLOURS["rule"], linewidth=0.6)
        for row, language in enumerate(ordered):
            before, after = shares[language]
            strong = _COLOURS["head"]
            if before > 0 and after > 0:
                axes.plot([before, after], [row, row], color=strong if language == highlight else _COLOURS["bar"])
            if before > 0:
                axes.plot(before, row, "o", markersize=4.5, color=_COLOURS["muted"])
            if after > 0:
                axes.plot(after, row, "o", markersize=5.5, color=strong)
        _values(axes, [f"{_percent(shares[row][0])} → {_percent(shares[row][1])}" for row in ordered])
        for label, colour, x in [("● in the pool", "muted", 0.0), ("● drawn", "head", 80.0)]:
            axes.annotate(
                label, (0, 1), xycoords="axes fraction", xytext=(x, 8), textcoords="offset points",
                color=_COLOURS[colour],
            )  # fmt: skip
        return _svg(figure)


def interval_rows(rows: Mapping[str, tuple[float, float | None, float | None]]) -> str:
    """A point for each row with the range that it may lie in, in the order given.

    Args:
        rows: label → value, and the ends of its range where there is one; at least one row.
    """
    ordered = list(rows)[::-1]
    numbers = [number for row in rows.values() for number in row if number is not None]
    margin = 0.06 * (max(numbers) - min(numbers)) or 0.01
    with mpl.rc_context(_RC):
        figure, axes = _row_panel(ordered, left=_WIDE_LABEL_WIDTH, right=60, top=10, bottom=22, chars=_WIDE_LABEL_CHARS)
        axes.set(xlim=(min(numbers) - margin, max(numbers) + margin))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.grid(axis="x", color=_COLOURS["rule"], linewidth=0.6)
        for place, label in enumerate(ordered):
            value, low, high = rows[label]
            if low is not None and high is not None:
                axes.plot([low, high], [place, place], color=_COLOURS["bar"], linewidth=2.5)
            axes.plot(value, place, "o", markersize=5.5, color=_COLOURS["head"])
        _values(axes, [f"{rows[label][0]:.4g}" for label in ordered])
        return _svg(figure)


def confusion_matrix(shares: ArrayLike, names: Sequence[str]) -> str:
    """Squares, the darker the larger their share: of what a row is called, how much is taken for each column.

    Args:
        shares: float [n, n] in [0, 1], n > 0.
        names: of the n classes.
    """
    cells = np.asarray(shares, np.float64)
    places = range(len(names))
    with mpl.rc_context(_RC):
        figure, axes = _row_panel(
            list(names)[::-1], left=_NAME_WIDTH, right=8, top=_NAME_WIDTH, bottom=8, chars=_LABEL_CHARS
        )
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.xaxis.tick_top()
        axes.set_xticks(places, [_label(name) for name in names], rotation=90, color=_COLOURS["text"])
        for row, column in zip(*np.nonzero(cells), strict=True):
            square = Rectangle((column - 0.5, len(names) - 1.5 - row), 1, 1, linewidth=0, alpha=cells[row, column])
            square.set_facecolor(_COLOURS["head" if row == column else "tail"])
            axes.add_patch(square)
        return _svg(figure)


def law_curves(panels: Mapping[str, Mapping[tuple[str, str], Curve]], *, label: str) -> str:
    """Trainings as points and laws as lines, over pairs seen on a logarithmic axis; panels share both axes.

    Args:
        panels: title → (group, size) → a curve; a group is a colour, a size is a marker and a dash.
        label: of the axis of errors.
    """
    keys = list(dict.fromkeys(key for curves in panels.values() for key in curves))
    colours = dict(zip(dict.fromkeys(group for group, _ in keys), itertools.cycle(_GROUPS), strict=False))
    shapes = dict(zip(dict.fromkeys(size for _, size in keys), itertools.cycle(_SIZES), strict=False))
    tried = sorted({pairs for curves in panels.values() for curve in curves.values() for pairs, _ in curve.points})
    ticks = tried[:: -(-len(tried) // _MAX_TRIED) or 1]
    key_height = _ROW * len(keys) + 6
    height = _LAW_HEIGHT * len(panels) + key_height
    with mpl.rc_context(_RC):
        figure = _figure(height)
        first: Axes | None = None
        for place, (title, curves) in enumerate(panels.items()):
            above = key_height + _LAW_HEIGHT * place
            axes = _axes(
                figure, left=46, right=12, top=above + 22, bottom=height - above - _LAW_HEIGHT + 38, shared=first
            )
            first = first or axes
            axes.set_title(_ascii(title), loc="left", fontsize=_FONT, color=_COLOURS["text"])
            axes.set(xscale="log")
            axes.set_xticks(ticks, [_compact(pairs) for pairs in ticks])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
            axes.set_xlabel("pairs seen", color=_COLOURS["muted"])
            axes.set_ylabel(_ascii(label), color=_COLOURS["muted"])
            axes.grid(color=_COLOURS["rule"], linewidth=0.6)
            for (group, size), curve in curves.items():
                marker, dash = shapes[size]
                axes.plot(*_across(curve.points), marker, markersize=4.5, color=_COLOURS[colours[group]])
                axes.plot(*_across(curve.line), linestyle=dash, linewidth=1.5, color=_COLOURS[colours[group]])
        key = [
            Line2D(
                [], [], label=_ascii(f"{group}, {size}"), marker=shapes[size][0], linestyle=shapes[size][1],
                markersize=4.5, linewidth=1.5, color=_COLOURS[colours[group]],
            )
            for group, size in keys
        ]  # fmt: skip
        figure.legend(
            handles=key, loc="upper left", frameon=False, borderaxespad=0.3, handlelength=3, labelcolor=_COLOURS["text"]
        )
        return _svg(figure)


def histogram(shares: Sequence[float], *, edges: Sequence[float], label: str) -> str:
    """A column for each bin, all of one width; the axis below names the edges at which bins start.

    Args:
        shares: of the bins, in [0, 1]; at least one.
        edges: where each bin starts; as many.
        label: of the axis below.
    """
    with mpl.rc_context(_RC):
        figure, axes = _panel(_HISTOGRAM_HEIGHT, left=40, right=10, top=10, bottom=36)
        axes.bar(range(len(shares)), shares, width=0.86, align="edge", color=_COLOURS["head"])
        axes.set(xlim=(0, len(shares)), ylim=(0, max(*shares, _LEAST_TOP) * 1.05))
        step = -(-len(edges) // _MAX_TICKS)
        ticks = range(0, len(edges), step)
        axes.set_xticks(ticks, [f"{edges[tick]:,g}" for tick in ticks])
        axes.set_xlabel(label, color=_COLOURS["muted"])
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.grid(axis="y", color=_COLOURS["rule"], linewidth=0.6)
        return _svg(figure)


def curse_paths(paths: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """English (across) against the other languages (up): a point for each model, behind it the path of its checkpoints.

    The dotted line is where both are equal.

    Args:
        paths: name → (English, others) in [0, 1], in the order of training; at least one of each.
    """
    with mpl.rc_context(_RC):
        figure, axes = _panel(_SQUARE_HEIGHT, left=46, right=14, top=14, bottom=38)
        top = 1.08 * max(max(point) for points in paths.values() for point in points) or 1.0
        axes.set(xlim=(0, top), ylim=(0, top))
        axes.set_xlabel("English", color=_COLOURS["muted"])
        axes.set_ylabel("other languages", color=_COLOURS["muted"], labelpad=2)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=5))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g}%"))
        axes.grid(color=_COLOURS["rule"], linewidth=0.6)
        axes.plot([0, top], [0, top], color=_COLOURS["text"], linewidth=1.0, linestyle=":")
        for name, points in paths.items():
            axes.plot(*zip(*points, strict=True), color=_COLOURS["bar"], marker=".", linewidth=1.4)
            english, others = points[-1]
            axes.plot(english, others, "o", markersize=6, color=_COLOURS["head"])
            right_half = english > top / 2
            axes.annotate(
                _label(name, chars=_NAME_CHARS), (english, others),
                xytext=(-7 if right_half else 7, -3), textcoords="offset points",
                color=_COLOURS["text"], ha="right" if right_half else "left",
            )  # fmt: skip
        return _svg(figure)


def _panel(height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure with one pair of axes."""
    figure = _figure(height)
    return figure, _axes(figure, left=left, right=right, top=top, bottom=bottom)


def _figure(height: float) -> Figure:
    figure = Figure(figsize=(_WIDTH / _UNIT, height / _UNIT), dpi=_UNIT)
    figure.patch.set_visible(False)
    return figure


def _axes(figure: Figure, *, left: float, right: float, top: float, bottom: float, shared: Axes | None = None) -> Axes:
    """A pair of axes; margins in units, for nothing here may depend on the width of a font."""
    height = figure.get_figheight() * _UNIT
    inside = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height)
    axes = figure.add_axes(inside, facecolor="none", sharex=shared, sharey=shared)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=_COLOURS["muted"])
    axes.set_axisbelow(True)
    return axes


def _across(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _language_panel(languages: list[str], *, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A panel with one row for each language, from the bottom up."""
    return _row_panel(languages, left=_LABEL_WIDTH, right=right, top=top, bottom=bottom, chars=_LABEL_CHARS)


def _row_panel(
    rows: list[str], *, left: float, right: float, top: float, bottom: float, chars: int
) -> tuple[Figure, Axes]:
    height = _ROW * len(rows) + top + bottom
    figure, axes = _panel(height, left=left, right=right, top=top, bottom=bottom)
    axes.set_yticks(range(len(rows)), [_label(row, chars=chars) for row in rows], color=_COLOURS["text"])
    axes.set_ylim(-0.5, len(rows) - 0.5)
    return figure, axes


def _label(name: str, *, chars: int = _LABEL_CHARS) -> str:
    text = _ascii(name)
    return text if len(text) <= chars else f"{text[: chars - 1]}…"


def _ascii(text: str) -> str:
    return ascii(text)[1:-1]


def _values(axes: Axes, texts: list[str]) -> None:
    """A column of numbers, flush with the right edge, one for each row: no mark of the plot can run into it."""
    for row, text in enumerate(texts):
        axes.annotate(
            text, (_WIDTH - 2, row), xycoords=("figure points", "data"), ha="right", va="center",
            color=_COLOURS["text"],
        )  # fmt: skip


def _towards_centre(share: float) -> str:
    """The alignment that keeps a label at `share` of the width inside."""
    return "left" if share < 0.2 else "right" if share > 0.8 else "center"  # noqa: PLR2004 - a label's half width


def _compact(value: float) -> str:
    """1000 → 1k, 1000000 → 1M."""
    for size, unit in [(1e9, "G"), (1e6, "M"), (1e3, "k")]:
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def _percent(share: float) -> str:
    if not share:
        return "0%"
    return f"{share:.1%}" if share >= 0.01 else f"{share:.2%}"  # noqa: PLR2004 - a hundredth


def _svg(figure: Figure) -> str:
    """The `<svg>` element: no prologue, no date, no ids that another plot of the page has too."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata=_NO_METADATA)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(?<=<g) id="[^"]*"', "", svg)
    svg = re.sub(r'(?<=[0-9])pt(?=")', "", svg)
    for name, colour in _COLOURS.items():
        svg = svg.replace(colour, f"var(--plot-{name}, {colour})")
    return svg
