"""What a model may reach with more data: a power law through a learning curve, with an honest range. Pure.

Scores follow `a - b · rows^-c` closely enough to be extended a little. The range comes from two things: repeats at
every size are drawn anew and the curve is fitted again each time, and the curve without its largest size is asked for
that size. The range is never narrower than what it missed there, grown with the distance; past ten times the largest
size nothing is said.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FURTHEST = 10
"""Times the largest size that was measured."""
DRAWS = 400
FEWEST_SIZES = 4
POWERS = np.linspace(0.1, 1.2, 23)

Measured = Mapping[int, Sequence[float]]
"""Rows that were trained on → the score of each repeat, 0 to 1."""
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """`a - b · rows^-c`: `a` is never reached and at most 1; `b` is 0 or more."""

    a: float
    b: float
    c: float

    def at(self, rows: float) -> float:
        """The score at so many rows, 0 to 1."""
        return min(1.0, max(0.0, self.a - self.b * rows**-self.c))


@dataclass(frozen=True, slots=True)
class Expected:
    """What to expect at so many rows: the middle, and a 95 % range."""

    rows: int
    value: float
    low: float
    high: float


def fit(sizes: Sequence[int], scores: Sequence[float]) -> Curve:
    """The curve with the least squared distance among a grid of powers; ValueError for fewer than two sizes."""
    a, b, c = _fits(sizes, np.asarray([scores], dtype=np.float64))
    return Curve(float(a[0]), float(b[0]), float(c[0]))


def _fits(sizes: Sequence[int], y: Floats) -> tuple[Floats, Floats, Floats]:
    """`a`, `b` and `c` for each row of `y` (draws, sizes)."""
    if len(set(sizes)) < 2:
        raise ValueError("a curve needs two sizes")
    x = np.asarray(sizes, dtype=np.float64) ** -POWERS[:, None]
    a, b = _lines(x, y)
    missed = ((a[:, :, None] - b[:, :, None] * x - y[:, None, :]) ** 2).sum(axis=2)
    best = missed.argmin(axis=1)
    rows = np.arange(len(y))
    return a[rows, best], b[rows, best], POWERS[best]


def _lines(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Least squares of `a - b·x` of each row of `y` (draws, sizes) over each row of `x` (powers, sizes), with `a` at
    most 1 and `b` at least 0: (draws, powers) each."""
    middle, mean = x.mean(axis=1, keepdims=True), y.mean(axis=1, keepdims=True)
    b = -(y - mean) @ (x - middle).T / ((x - middle) ** 2).sum(axis=1)
    a = mean + b * middle[:, 0]
    through_one = np.maximum(0.0, (1 - y) @ x.T / (x * x).sum(axis=1))
    a, b = np.where(a > 1, 1.0, a), np.where(a > 1, through_one, b)
    return np.where(b <= 0, np.minimum(1.0, mean), a), np.maximum(0.0, b)


def expected(measured: Measured, rows: int, *, seed: int = 7) -> Expected:
    """The range at so many rows. ValueError for too few sizes, or too far away."""
    sizes = sorted(measured)
    if len(sizes) < FEWEST_SIZES:
        raise ValueError(f"{len(sizes)} sizes were measured; a range needs {FEWEST_SIZES}")
    if not 1 <= rows <= FURTHEST * sizes[-1]:
        raise ValueError(f"{rows:,} rows are more than {FURTHEST} times the {sizes[-1]:,} that were measured")
    means = [float(np.mean(measured[size])) for size in sizes]
    middle = fit(sizes, means).at(rows)
    random = np.random.default_rng(seed)
    drawn = np.stack(
        [random.choice(list(measured[size]), (DRAWS, len(measured[size]))).mean(axis=1) for size in sizes], axis=1
    )
    a, b, c = _fits(sizes, drawn)
    reached = np.clip(a - b * float(rows) ** -c, 0.0, 1.0)
    low, high = (float(one) for one in np.percentile(reached, [2.5, 97.5]))
    margin = max(_missed(sizes, means, rows), float(np.std(measured[sizes[-1]])))
    low, high = max(0.0, min(low, middle - margin)), min(1.0, max(high, middle + margin))
    if rows >= sizes[-1]:  # more rows of the same kind do not make it worse than what was seen
        low = max(low, min(middle, min(measured[sizes[-1]]) - float(np.std(measured[sizes[-1]]))))
    return Expected(rows, middle, max(0.0, low), high)


def _missed(sizes: Sequence[int], means: Sequence[float], rows: int) -> float:
    """How wrong the curve without its largest size was there, grown with how much farther `rows` is in doublings."""
    wrong = abs(fit(sizes[:-1], means[:-1]).at(sizes[-1]) - means[-1])
    step, farther = math.log2(sizes[-1] / sizes[-2]), math.log2(max(1.0, rows / sizes[-1]))
    return wrong * max(1.0, farther / step)
