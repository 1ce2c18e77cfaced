"""Calibration: what the model said against how often it was right, with the count of each bin."""

from collections.abc import Sequence

from evaluation.calibration import Bin
from kit.charts.scale import percent, unit_axes


def calibration_chart(bins: Sequence[Bin]) -> str:
    """SVG of the reliability line over the diagonal; bins without rows are left out, point size follows the count."""
    full = [b for b in bins if b.n]
    most = max((b.n for b in full), default=1)
    parts = ['<svg class="drawing" focusable="false" aria-hidden="true">', *unit_axes()]
    parts.append('<line class="diagonal" x1="0" y1="100%" x2="100%" y2="0"/>')
    line = "".join(
        f"{'L' if i else 'M'}{b.confidence * 1000:.1f} {(1 - b.accuracy) * 1000:.1f}" for i, b in enumerate(full)
    )
    parts.append('<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" width="100%" height="100%">')
    parts.append(f'<path class="s1" d="{line}"/></svg>')
    for b in full:
        radius = 2.5 + 3.5 * (b.n / most) ** 0.5
        parts.append(
            f'<circle class="s1" r="{radius:.1f}" cx="{percent(b.confidence)}" cy="{percent(1 - b.accuracy)}">'
            f"<title>{b.low:.0%}–{b.high:.0%}: {b.accuracy:.0%} correct of {b.n}</title></circle>"
        )
    parts.append("</svg>")
    return "".join(parts)
