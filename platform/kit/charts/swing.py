"""Swings: how far a figure moves to both sides of where it stands. One bar to a row of a table; drawn below each other
on one scale, widest first, they are a tornado."""

from kit.charts.scale import percent, place


def swing_bar(*, base: float, lower: float, higher: float, least: float, most: float) -> str:
    """A bar on the scale `least` to `most`: from `base` to `lower` in the first tone, to `higher` in the second; a line
    stands at the base."""
    at = place(base, least, most)
    parts = ['<svg class="swing" aria-hidden="true" focusable="false">']
    for tone, value in ((1, lower), (2, higher)):
        to = place(value, least, most)
        if to != at:
            parts.append(
                f'<rect class="f{tone}" x="{percent(min(at, to))}" y="15%" '
                f'width="{percent(abs(to - at))}" height="70%"/>'
            )
    parts.append(f'<line x1="{percent(at)}" x2="{percent(at)}" y1="0" y2="100%"/></svg>')
    return "".join(parts)
