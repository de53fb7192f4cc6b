"""Charts as SVG, made on the server: pure functions from figures to markup.

Every chart is an image with a name and a description for those who do not see it; the caller puts the figures beside
it as text or as a table. Nothing is told by colour alone: kinds of status differ in texture too. Widths are in percent
and heights in pixels, so that texts keep their size on a phone. Colours are presentation attributes, which the style
sheet may replace and which a strict Content-Security-Policy lets through; a style attribute it would not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Mapping, Sequence

_GAP = 0.25
_CHART_HEIGHT = 160


class Kind(StrEnum):
    """What a status says, as the reader of a chart is to tell it apart."""

    SUCCESS = "success"
    FAILURE = "failure"
    DONE = "done"
    PENDING = "pending"
    INITIAL = "initial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a status is drawn: its own colour, and the texture and mark of its kind."""

    name: str
    color: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """The results of one day by the name of their status, and the pass rate, None where nothing was completed."""

    day: dt.date
    counts: Mapping[str, int]
    pass_rate: float | None

    @property
    def total(self) -> int:
        """How many results there are."""
        return sum(self.counts.values())


_SVG = Markup('<svg class="chart {}" role="img" {}><title>{}</title><desc>{}</desc>{}</svg>')
_BOX = Markup('<rect class="kind-{}" x="{}%" y="{}" width="{}%" height="{}" fill="{}"/>')
_TEXTURED = {Kind.FAILURE, Kind.PENDING, Kind.DONE}
_VEIL = Markup('<rect x="{}%" y="{}" width="{}%" height="{}" fill="url(#texture-{})"/>')
_ARC = Markup(
    '<circle class="kind-{}" cx="60" cy="60" r="46" pathLength="100" stroke="{}" stroke-dasharray="{} {}"'
    ' stroke-dashoffset="{}"/>'
)
_ARC_VEIL = Markup(
    '<circle cx="60" cy="60" r="46" pathLength="100" stroke="url(#texture-{})" stroke-dasharray="{} {}"'
    ' stroke-dashoffset="{}"/>'
)
_GLYPHS = {
    Kind.SUCCESS: "M4 7.2 6.2 9.4 10 5",
    Kind.FAILURE: "M4.8 4.8 9.2 9.2M9.2 4.8 4.8 9.2",
    Kind.DONE: "M4.4 7H9.6",
    Kind.PENDING: "M7 3.8V7.6M7 9.8V9.9",
    Kind.INITIAL: "",
}


def textures() -> Markup:
    """Return the definitions that the charts of a page refer to: once in every page that has one."""
    return Markup(
        '<svg class="definitions" width="0" height="0" aria-hidden="true"><defs>'
        '<pattern id="texture-failure" width="6" height="6" patternUnits="userSpaceOnUse"'
        ' patternTransform="rotate(45)"><path class="texture" d="M0 0V6" stroke-width="4"/></pattern>'
        '<pattern id="texture-pending" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<circle class="texture-dot" cx="2.5" cy="2.5" r="1.2"/></pattern>'
        '<pattern id="texture-done" width="5" height="5" patternUnits="userSpaceOnUse">'
        '<path class="texture" d="M0 2.5H5" stroke-width="1.6"/></pattern>'
        "</defs></svg>"
    )


def mark(look: Look) -> Markup:
    """Return the sign that stands before a status's name: its colour, and the glyph of its kind."""
    return Markup(
        '<svg class="mark kind-{}" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        '<circle cx="7" cy="7" r="6.25" fill="{}"/><path d="{}"/></svg>'
    ).format(look.kind, look.color, _GLYPHS[look.kind])


def progress_bar(counts: Mapping[str, int], looks: Mapping[str, Look], *, name: str, height: int = 8) -> Markup:
    """Return a bar of the shares of all statuses, what is completed first."""
    parts = []
    start = 0.0
    for look, count, share in _shares(counts, looks):
        width = max(share - _GAP, 0.2) if share < 100 else 100  # noqa: PLR2004 - all of it
        parts.append(_bar(look, _tooltip(look.name, count), x=start, y=0, width=width, height=height))
        start += share
    return _svg("bar", Markup('width="100%" height="{}"').format(height), name, spoken(counts, looks), parts)


def donut(counts: Mapping[str, int], looks: Mapping[str, Look], *, name: str, inside: str, below: str) -> Markup:
    """Return a ring of the shares, with a figure and its meaning in the middle."""
    parts = [Markup('<circle class="track" cx="60" cy="60" r="46"/>')]
    start = 0.0
    for look, count, share in _shares(counts, looks):
        length = max(share - 2 * _GAP, 0.4) if share < 100 else 100  # noqa: PLR2004 - all of it
        dashes = _number(length), _number(100 - length), _number(-start)
        arcs = _ARC.format(look.kind, look.color, *dashes)
        if look.kind in _TEXTURED:
            arcs += _ARC_VEIL.format(look.kind, *dashes)
        parts.append(Markup("<g><title>{}</title>{}</g>").format(_tooltip(look.name, count), arcs))
        start += share
    ring = Markup('<g class="ring" transform="rotate(-90 60 60)">{}</g>').format(Markup().join(parts))
    words = Markup('<text class="figure" x="60" y="62">{}</text><text class="meaning" x="60" y="77">{}</text>')
    box = Markup('viewBox="0 0 120 120" width="132" height="132"')
    return _svg("donut", box, name, spoken(counts, looks), [ring, words.format(inside, below)])


def results_over_time(days: Sequence[Day], looks: Mapping[str, Look], *, name: str) -> Markup:
    """Return the results of each day as stacked columns, the latest day on the right."""
    most = max((day.total for day in days), default=0)
    parts = _grid()
    step = 100 / max(len(days), 1)
    for index, day in enumerate(days):
        shown = [(looks[status], count) for status, count in day.counts.items() if count and status in looks]
        height_of = (_CHART_HEIGHT - 1) / max(most, 1)
        floor = float(_CHART_HEIGHT)
        columns = []
        for look, count in shown:
            height = count * height_of
            floor -= height
            columns.append(_column(look, x=index * step + step * 0.12, y=floor, width=step * 0.76, height=height))
        if columns:
            told = f"{day.day:%d %b %Y}: {_told(shown)}"
            parts.append(Markup("<g><title>{}</title>{}</g>").format(told, Markup().join(columns)))
    total = sum(day.total for day in days)
    about = f"{total:,} results in {len(days)} days, at most {most:,} in one."
    return _svg("columns", Markup('width="100%" height="{}"').format(_CHART_HEIGHT), name, about, parts)


def pass_rate_line(days: Sequence[Day], *, name: str) -> Markup:
    """Return the pass rate of each day that has one as a line from 0 % below to 100 % above."""
    step = 100 / max(len(days), 1)
    points = [
        (index * step + step / 2, (1 - day.pass_rate) * (_CHART_HEIGHT - 12) + 6, day)
        for index, day in enumerate(days)
        if day.pass_rate is not None
    ]
    line = Markup('<line class="line" x1="{}%" y1="{}" x2="{}%" y2="{}"/>')
    dot = Markup('<g><title>{}</title><circle class="dot" cx="{}%" cy="{}" r="3.5"/></g>')
    parts = _grid()
    for (x1, y1, _), (x2, y2, _) in pairwise(points):
        parts.append(line.format(_number(x1), _number(y1), _number(x2), _number(y2)))
    for x, y, day in points:
        parts.append(dot.format(f"{day.day:%d %b %Y}: {day.pass_rate:.0%}", _number(x), _number(y)))
    rates = [day.pass_rate for _, _, day in points if day.pass_rate is not None]
    about = f"Between {min(rates):.0%} and {max(rates):.0%}, at the end {rates[-1]:.0%}." if rates else "No results."
    return _svg("trend", Markup('width="100%" height="{}"').format(_CHART_HEIGHT), name, about, parts)


def sparkline(values: Sequence[float], *, name: str) -> Markup:
    """Return a small line without axes."""
    low, high = min(values, default=0), max(values, default=0)
    step = 92 / max(len(values) - 1, 1)
    points = [
        f"{_number(2 + index * step)},{_number(22 - (value - low) / ((high - low) or 1) * 20)}"
        for index, value in enumerate(values)
    ]
    line = Markup('<polyline class="line" points="{}"/>').format(" ".join(points))
    about = f"From {values[0]:,g} to {values[-1]:,g}." if values else "No values."
    return _svg("sparkline", Markup('viewBox="0 0 96 24" width="96" height="24"'), name, about, [line])


def spoken(counts: Mapping[str, int], looks: Mapping[str, Look]) -> str:
    """Return the counts as a sentence, in the order in which charts show them."""
    return _told([(look, count) for look, count, _ in _shares(counts, looks)]) or "Nothing."


def in_order(counts: Mapping[str, int], looks: Mapping[str, Look]) -> list[tuple[Look, int]]:
    """Return the statuses that occur with their counts, as charts show them: what still has no result last."""
    known = [(looks[name], count) for name, count in counts.items() if count > 0 and name in looks]
    return sorted(known, key=lambda pair: list(Kind).index(pair[0].kind))


def _shares(counts: Mapping[str, int], looks: Mapping[str, Look]) -> Iterable[tuple[Look, int, float]]:
    ordered = in_order(counts, looks)
    total = sum(count for _, count in ordered)
    return [(look, count, 100 * count / total) for look, count in ordered]


def _bar(look: Look, tooltip: str, *, x: float, y: float, width: float, height: float) -> Markup:
    column = _column(look, x=x, y=y, width=width, height=height)
    return Markup("<g><title>{}</title>{}</g>").format(tooltip, column)


def _column(look: Look, *, x: float, y: float, width: float, height: float) -> Markup:
    place = _number(x), _number(y), _number(width), _number(height)
    box = _BOX.format(look.kind, *place, look.color)
    return box + _VEIL.format(*place, look.kind) if look.kind in _TEXTURED else box


def _grid() -> list[Markup]:
    line = Markup('<line class="rule" x1="0" y1="{0}" x2="100%" y2="{0}"/>')
    return [line.format(_number(0.5 + (_CHART_HEIGHT - 1) * part / 4)) for part in range(5)]


def _svg(kind: str, box: Markup, name: str, description: str, parts: Iterable[Markup]) -> Markup:
    return _SVG.format(kind, box, name, description, Markup().join(parts))


def _told(pairs: Iterable[tuple[Look, int]]) -> str:
    return ", ".join(_tooltip(look.name, count) for look, count in pairs)


def _tooltip(name: str, count: int) -> str:
    return f"{name} {count:,}"


def _number(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
