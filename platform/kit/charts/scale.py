"""Scales: nice ticks and positions. Unit square in, percent out."""

import math
from collections.abc import Iterable

MAX_TICKS = 6


def ticks(low: float, high: float, most: int = MAX_TICKS) -> list[float]:
    """At most `most` round values that cover low..high, both ends included. A flat range gets room around it."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-200):
        pad = abs(low) * 0.1 or 1.0
        low, high = (0.0, low + pad) if low >= 0 else (low - pad, 0.0)
    raw = (high - low) / max(1, most - 1)
    size = 10.0 ** math.floor(math.log10(raw))
    for step in (1, 2, 2.5, 5, 10, 20, 25, 50):
        width = step * size
        first, last = math.floor(low / width + 1e-9), math.ceil(high / width - 1e-9)
        if last - first + 1 <= most:
            return [round(i * width, 12) for i in range(first, last + 1)]
    return [low, high]


def label(value: float) -> str:
    """A short tick label: `0.25`, `1.5`, `12k`, `3.4M`."""
    size = abs(value)
    for limit, suffix in ((1e9, "B"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            unit = 1e3 if suffix == "k" else limit
            return f"{value / unit:.3g}{suffix}"
    if size and size < 0.001:
        return f"{value:.1g}"
    return f"{value:.10g}" if value == int(value) else f"{value:.3g}"


def extent(values: Iterable[float | None]) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) when there is none."""
    kept = [v for v in values if v is not None and math.isfinite(v)]
    return (min(kept), max(kept)) if kept else (0.0, 1.0)


def place(value: float, low: float, high: float) -> float:
    """Position of a value between two ends as a share 0..1."""
    return 0.0 if high <= low else (value - low) / (high - low)


def percent(share: float) -> str:
    """`12.3%`, without noise digits."""
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + "%"


def number_between(share: float) -> str:
    """A share of one with two digits, `0.42`; what lies closer to an end keeps the digits that tell it from the end."""
    for digits in (2, 3, 4):
        if 0 < float(f"{share:.{digits}f}") < 1 or share in (0.0, 1.0):
            return f"{share:.{digits}f}"
    return f"{share:.4f}"


def unit_axes() -> list[str]:
    """Grid and labels of a square in which both axes go from 0 to 1."""
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, x = percent(1 - tick), percent(tick)
        parts.append(f'<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="-8" y="{y}" dy="4" text-anchor="end">{tick:g}</text>')
        parts.append(f'<text x="{x}" y="100%" dy="18" text-anchor="middle">{tick:g}</text>')
    return parts
