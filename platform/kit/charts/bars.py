"""Stacked bars a day (or class): usage, cost, label counts. Always from zero, what is negative below it; a limit is a
dashed line."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from kit.charts.scale import label, percent, place, ticks


@dataclass(frozen=True, slots=True)
class Column:
    """One bar: its name under the axis and one part per key, those nearest to zero first."""

    name: str
    parts: Sequence[float]
    href: str = ""
    """Where the table behind the drawing leads from its name."""

    @property
    def total(self) -> float:
        """Height of the bar over zero."""
        return sum(part for part in self.parts if part > 0)

    @property
    def depth(self) -> float:
        """How far it reaches below zero: 0 or negative."""
        return sum(part for part in self.parts if part < 0)


@dataclass(frozen=True, slots=True)
class Bars:
    """A bar chart ready for the `<c-bars>` component."""

    id: str
    title: str
    finding: str
    keys: list[str]
    columns: list[Column]
    svg: str
    unit: str
    tones: list[int]
    xlabel: str = ""
    """What a column stands for; a day where nothing is said."""


def bar_chart(
    *,
    id: str,
    title: str,
    finding: str,
    keys: Sequence[str],
    columns: Sequence[Column],
    unit: str = "",
    limit: float | None = None,
    xlabel: str = "",
) -> Bars:
    """Draw stacked columns; a single key is steel, several begin with ember; at most six keys."""
    tones = list(range(1, len(keys) + 1)) if len(keys) > 1 else [2]
    return Bars(
        id, title, finding, list(keys), list(columns), _draw(list(columns), tones, unit, limit), unit, tones, xlabel
    )


def _draw(columns: list[Column], tones: list[int], unit: str, limit: float | None) -> str:
    highest = max([c.total for c in columns] + [limit or 0.0, 0.0])
    lowest = min([c.depth for c in columns] + [0.0])
    ys = ticks(lowest, highest if highest or lowest else 1.0, 5)
    parts = ['<svg class="drawing" focusable="false" aria-hidden="true">']
    for tick in ys:
        y = percent(1 - place(tick, ys[0], ys[-1]))
        text = _words(tick, unit)
        # What is too long for the margin stands on its line, inside.
        where = 'x="-8" dy="4" text-anchor="end"' if len(text) < 7 else 'x="2" dy="-4"'
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(f'<text y="{y}" {where}>{escape(text)}</text>')
    width = 1 / max(1, len(columns))
    every = max(1, -(-len(columns) // 5))
    for i, column in enumerate(columns):
        above = below = 0.0
        for tone, part in zip(tones, column.parts, strict=False):
            if not part:
                continue
            base, above, below = (above, above + part, below) if part > 0 else (below + part, above, below + part)
            top = place(base + abs(part), ys[0], ys[-1])
            parts.append(
                f'<rect class="bar f{min(tone, 6)}" x="{percent((i + 0.14) * width)}" y="{percent(1 - top)}" '
                f'width="{percent(width * 0.72)}" height="{percent(abs(part) / (ys[-1] - ys[0]))}">'
                f"<title>{escape(column.name)}: {escape(_words(part, unit))}</title></rect>"
            )
        if i % every == 0:
            parts.append(
                f'<text x="{percent((i + 0.5) * width)}" y="100%" dy="18" text-anchor="middle">'
                f"{escape(column.name)}</text>"
            )
    if limit is not None:
        y = percent(1 - place(limit, ys[0], ys[-1]))
        parts.append(f'<line class="limit" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    parts.append("</svg>")
    return "".join(parts)


def _words(value: float, unit: str) -> str:
    """A number as it stands beside the axis. Money, which alone has a unit, is written out: nobody reads $1e-05 on a
    bill."""
    if not unit:
        return label(value)
    if value < 0:
        return f"-{_words(-value, unit)}"
    digits = f"{value:.9f}".rstrip("0").rstrip(".") if 0 < value < 0.001 else label(value)
    return f"{unit}{digits}" if len(unit) == 1 else f"{digits}\u00a0{unit}"
