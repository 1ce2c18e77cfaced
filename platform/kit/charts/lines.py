"""Line charts: loss, metrics, latency. At most 2,000 points a series reach the page; extremes are kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from xml.sax.saxutils import escape

from kit.charts.scale import extent, label, percent, place, ticks

MOST_POINTS = 2_000
Point = tuple[float, float | None]


@dataclass(frozen=True, slots=True)
class Series:
    """One line. `tone` 1..6 picks colour and dash; a sparse series is joined, dashed, with points."""

    key: str
    name: str
    points: Sequence[Point]
    tone: int = 1
    sparse: bool = False

    @property
    def latest(self) -> float | None:
        """The last value there is."""
        return next((y for _, y in reversed(self.points) if y is not None), None)


@dataclass(frozen=True, slots=True)
class LineChart:
    """A chart ready for the `<c-chart>` component."""

    id: str
    title: str
    finding: str
    xlabel: str
    series: list[Series]
    svg: str
    data: dict[str, Any]
    note: str = ""
    rows: list[tuple[float | str, list[float | None]]] = field(default_factory=list)
    named: bool = False
    """Whether the places have names instead of numbers."""


def thin(points: Sequence[Point], most: int = MOST_POINTS) -> list[Point]:
    """At most `most` points, keeping first, last, and the least and greatest value of each bucket; gaps survive."""
    if len(points) <= most:
        return list(points)
    width = math.ceil(len(points) / (most // 2))
    kept: list[Point] = []
    for start in range(0, len(points), width):
        bucket = list(enumerate(points[start : start + width], start))
        real = [(i, p) for i, p in bucket if p[1] is not None]
        if not real:
            kept.append(bucket[0][1])
            continue
        low = min(real, key=lambda item: item[1][1] or 0.0)
        high = max(real, key=lambda item: item[1][1] or 0.0)
        kept.extend(p for _, p in sorted({low[0]: low[1], high[0]: high[1]}.items()))
    return kept


def line_chart(
    *,
    id: str,
    title: str,
    finding: str,
    series: Sequence[Series],
    xlabel: str = "step",
    zero: bool = False,
    top: float | None = None,
    note: str = "",
    names: Sequence[str] = (),
) -> LineChart:
    """Draw lines over a shared numeric x. Missing values are gaps; `zero` starts y at 0, `top` fixes its end. With
    `names` x counts them, 0, 1, 2, …, and they stand below the axis: hours and days, say."""
    lines = [Series(s.key, s.name, thin(s.points), s.tone, s.sparse) for s in series]
    xs = sorted({x for s in lines for x, _ in s.points})
    return LineChart(
        id=id,
        title=title,
        finding=finding,
        xlabel=xlabel,
        series=lines,
        svg=_draw(lines, xs, zero, top, names) if xs else _blank(finding),
        data=_data(lines, xs, xlabel, zero, top),
        note=note,
        rows=_rows(lines, xs, names),
        named=bool(names),
    )


def _data(lines: list[Series], xs: list[float], xlabel: str, zero: bool, top: float | None) -> dict[str, Any]:
    """The same points for the script, each line with its own x: a null is a gap, another line's x is none."""
    out = [
        {
            "key": s.key,
            "name": s.name,
            "tone": s.tone,
            "sparse": s.sparse,
            "x": [x for x, _ in s.points],
            "y": [y for _, y in s.points],
        }
        for s in lines
    ]
    return {"x": xs, "xlabel": xlabel, "series": out, "zero": zero, "top": top}


def _rows(
    lines: list[Series], xs: list[float], names: Sequence[str], most: int = 200
) -> list[tuple[float | str, list[float | None]]]:
    """Rows of the table view, evenly thinned."""
    known = [dict(s.points) for s in lines]
    step = max(1, math.ceil(len(xs) / most))
    sparse = {x for s in lines if s.sparse for x, _ in s.points}
    shown = [x for i, x in enumerate(xs) if i % step == 0 or x in sparse]
    return [(names[int(x)] if names else x, [k.get(x) for k in known]) for x in shown]


def _blank(words: str) -> str:
    """Nothing measured yet: said in the middle, instead of axes without a meaning."""
    return (
        '<svg class="drawing" focusable="false" aria-hidden="true">'
        '<line class="grid" x1="0" x2="100%" y1="100%" y2="100%"/>'
        f'<text x="50%" y="50%" text-anchor="middle">{escape(words)}</text></svg>'
    )


def _draw(lines: list[Series], xs: list[float], zero: bool, top: float | None, names: Sequence[str]) -> str:
    low, high = extent(y for s in lines for _, y in s.points)
    ys = ticks(0.0 if zero else low, top if top is not None else high)
    x_low, x_high = (xs[0], xs[-1]) if xs else (0.0, 1.0)
    parts = ['<svg class="drawing" focusable="false" aria-hidden="true">']
    for tick in ys:
        y = percent(1 - place(tick, ys[0], ys[-1]))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="-8" y="{y}" dy="4" text-anchor="end">{escape(label(tick))}</text>')
    for tick, words in _below(x_low, x_high, names):
        share = place(tick, x_low, x_high)
        if xs and -0.001 <= share <= 1.001:
            parts.append(f'<text x="{percent(share)}" y="100%" dy="18" text-anchor="middle">{escape(words)}</text>')
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    parts.extend(f'<path class="s{s.tone}" d="{_path(s, x_low, x_high, ys)}"/>' for s in lines)
    parts.append("</svg>")
    for s in lines:
        parts.extend(_dots(s, s.points if s.sparse else _alone(s.points), x_low, x_high, ys))
    parts.append("</svg>")
    return "".join(parts)


def _below(low: float, high: float, names: Sequence[str]) -> list[tuple[float, str]]:
    """Where something stands below the axis, and what: round numbers, or at most five of the names."""
    if names:
        step = max(1, math.ceil(len(names) / 5))
        return [(float(place), names[place]) for place in range(0, len(names), step)]
    return [(tick, label(tick)) for tick in (ticks(low, high, 5) if high > low else [low])]


def _path(series: Series, x_low: float, x_high: float, ys: list[float]) -> str:
    commands, pen_down = [], False
    for x, y in series.points:
        if y is None or not math.isfinite(y):
            pen_down = pen_down and series.sparse
            continue
        px = place(x, x_low, x_high) * 1000
        py = (1 - place(y, ys[0], ys[-1])) * 1000
        commands.append(f"{'L' if pen_down else 'M'}{px:.1f} {py:.1f}")
        pen_down = True
    return "".join(commands)


def _alone(points: Sequence[Point]) -> list[Point]:
    """Those with a gap or an end on either side: no line shows them."""
    there = [y is not None and math.isfinite(y) for _, y in points]
    return [
        point
        for at, point in enumerate(points)
        if not (at and there[at - 1]) and not (at + 1 < len(points) and there[at + 1])
    ]


def _dots(series: Series, points: Sequence[Point], x_low: float, x_high: float, ys: list[float]) -> list[str]:
    return [
        f'<circle class="s{series.tone}" r="2.5" cx="{percent(place(x, x_low, x_high))}" '
        f'cy="{percent(1 - place(y, ys[0], ys[-1]))}"/>'
        for x, y in points
        if y is not None and math.isfinite(y)
    ]
