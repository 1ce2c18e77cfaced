"""Sparklines: a trend beside a number. Decorative; the number says it."""

from collections.abc import Sequence

from kit.charts.scale import place


def spark_line(values: Sequence[float | None]) -> str:
    """A small line from zero; fewer than two values draw nothing."""
    known = [v for v in values if v is not None]
    if len(known) < 2:
        return ""
    high = max(known) or 1.0
    commands, pen_down = [], False
    for i, value in enumerate(values):
        if value is None:
            pen_down = False
            continue
        x, y = i / (len(values) - 1) * 100, (1 - place(value, 0.0, high)) * 100
        commands.append(f"{'L' if pen_down else 'M'}{x:.1f} {y:.1f}")
        pen_down = True
    return (
        '<svg class="spark" viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f'<path d="{"".join(commands)}"/></svg>'
    )
