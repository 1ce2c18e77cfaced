"""Precision over recall, in steps as it was measured, with the chosen threshold as a point."""

from collections.abc import Sequence

from kit.charts.scale import number_between, percent, unit_axes

Points = Sequence[tuple[float, float, float]]
"""(threshold, precision, recall), the highest threshold first."""


def curve_chart(points: Points, *, chosen: tuple[float, float, float] | None = None, share: float | None = None) -> str:
    """SVG of a precision–recall curve. `share` draws what guessing would reach: the class's share of the rows."""
    parts = ['<svg class="drawing" focusable="false" aria-hidden="true">', *unit_axes()]
    if share is not None:
        y = percent(1 - share)
        parts.append(f'<line class="diagonal" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
    commands, last = [], 0.0
    for i, (_threshold, precision, recall) in enumerate(points):
        height = (1 - precision) * 1000
        commands.append(f"V{height:.1f}" if i else f"M{last * 1000:.1f} {height:.1f}")
        commands.append(f"H{recall * 1000:.1f}")
        last = recall
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    parts.append(f'<path class="s1" d="{"".join(commands)}"/></svg>')
    if chosen is not None:
        threshold, precision, recall = chosen
        right = recall < 0.7
        parts.append(
            f'<circle class="s1 chosen" r="4.5" cx="{percent(recall)}" cy="{percent(1 - precision)}"/>'
            f'<text x="{percent(recall)}" y="{percent(1 - precision)}" dx="{8 if right else -8}" '
            f'dy="{18 if precision > 0.2 else -10}" class="mark" text-anchor="{"start" if right else "end"}">'
            f"{number_between(threshold)}</text>"
        )
    parts.append("</svg>")
    return "".join(parts)
