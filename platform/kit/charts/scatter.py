"""Points of two figures: what was set, and what it gave. One of them may be chosen and carries its value."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from kit.charts.scale import extent, label, percent, place, ticks

ROOM = 0.06
"""Share of the width left free beside the first and last point."""


@dataclass(frozen=True, slots=True)
class Dot:
    """One point: a number, or a word, under the axis; its height; and what it is called."""

    x: float | str
    y: float
    name: str
    chosen: bool = False


def scatter_chart(dots: Sequence[Dot], *, log: bool = False) -> str:
    """SVG of the points. Words stand side by side in the order they come; numbers on a scale, `log` for a logarithmic
    one. The heights' scale does not begin at zero: it is there to tell near ones apart."""
    heights = ticks(*extent(dot.y for dot in dots), 5)
    parts = ['<svg class="drawing" focusable="false" aria-hidden="true">']
    for tick in heights:
        y = percent(1 - place(tick, heights[0], heights[-1]))
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="-8" y="{y}" dy="4" text-anchor="end">{escape(label(tick))}</text>')
    words = any(isinstance(dot.x, str) for dot in dots)
    marks = _words(dots) if words else _numbers(dots, log=log)
    for text, share in marks.labels:
        parts.append(f'<text x="{percent(share)}" y="100%" dy="18" text-anchor="middle">{escape(text)}</text>')
    for dot in sorted(dots, key=lambda dot: dot.chosen):  # the chosen one on top
        x, y = percent(marks.of(dot.x)), percent(1 - place(dot.y, heights[0], heights[-1]))
        shape = 'class="s1 chosen" r="4.5"' if dot.chosen else 'class="s2" r="4"'
        parts.append(f'<circle {shape} cx="{x}" cy="{y}"><title>{escape(dot.name)}</title></circle>')
        if dot.chosen:
            right = marks.of(dot.x) < 0.7
            parts.append(
                f'<text x="{x}" y="{y}" dx="{9 if right else -9}" dy="4" class="mark" '
                f'text-anchor="{"start" if right else "end"}">{dot.y:.3f}</text>'
            )
    parts.append("</svg>")
    return "".join(parts)


@dataclass(frozen=True, slots=True)
class _Marks:
    labels: list[tuple[str, float]]
    shares: dict[float | str, float]

    def of(self, x: float | str) -> float:
        """Where a value stands, 0..1."""
        return self.shares[x]


def _words(dots: Sequence[Dot]) -> _Marks:
    order = list(dict.fromkeys(dot.x for dot in dots))
    shares = {word: (i + 0.5) / len(order) for i, word in enumerate(order)}
    return _Marks([(str(word), share) for word, share in shares.items()], shares)


def _numbers(dots: Sequence[Dot], *, log: bool) -> _Marks:
    values = sorted({float(dot.x) for dot in dots})
    log = log and values[0] > 0
    scale = math.log if log else float
    low, high = scale(values[0]), scale(values[-1])

    def share(value: float) -> float:
        inside = place(scale(value), low, high) if high > low else 0.5
        return ROOM + inside * (1 - 2 * ROOM)

    shown = values if len(values) <= 4 else [v for v in _round_values(values, log=log) if values[0] <= v <= values[-1]]
    return _Marks([(label(value), share(value)) for value in _apart(shown, share)], {v: share(v) for v in values})


def _apart(values: Sequence[float], share: Callable[[float], float]) -> list[float]:
    """Of values whose labels would touch, the first."""
    kept: list[float] = []
    for value in values:
        if not kept or share(value) - share(kept[-1]) > 0.12:
            kept.append(value)
    return kept


def _round_values(values: Sequence[float], *, log: bool) -> list[float]:
    if not log:
        return ticks(values[0], values[-1])
    decades = range(math.floor(math.log10(values[0])), math.ceil(math.log10(values[-1])) + 1)
    return [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
