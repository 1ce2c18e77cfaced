"""Bootstrap intervals: 95 %, percentile, seeded, vectorised.

Accuracy, F1 and their differences depend only on how often each cell (truth, prediction[, other prediction])
occurs, so resampling the rows is drawing the cells from a multinomial: exact, and independent of N. Row means and
the calibration error resample the rows themselves, in chunks.

When every row agrees (all right or all wrong) the bootstrap collapses to a point and would promise certainty; then
Wilson's bound for that many rows takes its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation import calibration, metrics
from evaluation.metrics import Floats, Ints

LEVEL = 0.95
RESAMPLES = 1000
Z = 1.959963984540054
_CHUNK = 4_000_000  # resampled rows in memory at once


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, its 95 % interval, and the rows behind it."""

    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Plain values, rounded to six places."""
        return {key: round(item, 6) if isinstance(item, float) else item for key, item in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Counts:
    """Bootstrap draws of the class counts: each [B, C], and the right rows [B]."""

    hits: Ints
    told: Ints
    real: Ints
    right: Ints
    n: int


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) for no rows."""
    if n == 0:
        return 0.0, 1.0
    share, square = successes / n, Z**2 / n
    middle = (share + square / 2) / (1 + square)
    half = Z * math.sqrt(share * (1 - share) / n + square / (4 * n)) / (1 + square)
    return min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))  # a share of 1 ends a hair below


def draw_counts(truth: Ints, predicted: Ints, classes: int, *, resamples: int, seed: int) -> Counts:
    """Resample the rows `resamples` times; class counts of each draw."""
    width = classes + 1  # truth -1 becomes column C
    codes, counts = np.unique((truth % width) * width + predicted, return_counts=True)
    draws = _multinomial(counts, resamples, seed)
    return _counts_of(draws, codes // width, codes % width, classes, truth.size)


def accuracy_figure(truth: Ints, predicted: Ints, draws: Counts) -> Figure:
    """Accuracy with its interval."""
    value = metrics.accuracy(truth, predicted)
    return _figure(value, draws.right / max(1, draws.n), draws.n)


def macro_f1_figure(truth: Ints, predicted: Ints, classes: int, draws: Counts) -> Figure:
    """Macro-F1 with its interval."""
    value = metrics.macro_f1(truth, predicted, classes)
    return _figure(value, metrics.macro_from_counts(draws.hits, draws.told, draws.real), draws.n)


def class_f1_figures(truth: Ints, predicted: Ints, classes: int, draws: Counts) -> list[Figure]:
    """F1 of each class with its interval; n is the class's true rows."""
    table = metrics.per_class(truth, predicted, classes)
    samples = metrics.f1_from_counts(draws.hits, draws.told, draws.real)
    return [_figure(float(table.f1[c]), samples[:, c], int(table.n[c])) for c in range(classes)]


def mean_figure(values: Floats, *, resamples: int, seed: int) -> Figure:
    """Mean of per-row values with its interval."""
    if not values.size:
        return Figure(0.0, 0.0, 0.0, 0)
    means = _over_rows(values.size, resamples, seed, lambda rows: values[rows].mean(axis=1))
    return Figure(float(values.mean()), *_percentiles(means), int(values.size))


def ece_figure(confidence: Floats, correct: NDArray[np.bool_], *, resamples: int, seed: int) -> Figure:
    """Expected calibration error with its interval."""
    n, bins = confidence.size, calibration.BINS
    if not n:
        return Figure(0.0, 0.0, 0.0, 0)
    gap, index = confidence - correct, calibration.bin_of(confidence)

    def of(rows: Ints) -> Floats:
        codes = index[rows] + np.arange(len(rows))[:, None] * bins
        sums = np.bincount(codes.ravel(), weights=gap[rows].ravel(), minlength=len(rows) * bins)
        return np.abs(sums.reshape(len(rows), bins)).sum(axis=1) / n

    samples = _over_rows(n, resamples, seed, of)
    value = calibration.expected_calibration_error(confidence, correct)
    low, high = _percentiles(samples)
    return Figure(value, min(low, value), max(high, value), n)


def paired_differences(
    truth: Ints, ours: Ints, theirs: Ints, classes: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Figure]:
    """{"accuracy", "macro_f1"}: ours minus theirs on the same rows, resampled together."""
    width = classes + 1
    codes, counts = np.unique(((truth % width) * width + ours) * width + theirs, return_counts=True)
    draws = _multinomial(counts, resamples, seed)
    real, mine, other = codes // width**2, codes // width % width, codes % width
    a = _counts_of(draws, real, mine, classes, truth.size)
    b = _counts_of(draws, real, other, classes, truth.size)
    macro = metrics.macro_f1(truth, ours, classes) - metrics.macro_f1(truth, theirs, classes)
    macros = metrics.macro_from_counts(a.hits, a.told, a.real) - metrics.macro_from_counts(b.hits, b.told, b.real)
    gain = metrics.accuracy(truth, ours) - metrics.accuracy(truth, theirs)
    n = int(truth.size)
    return {
        "accuracy": Figure(gain, *_percentiles((a.right - b.right) / max(1, n)), n),
        "macro_f1": Figure(macro, *_percentiles(macros), n),
    }


def _multinomial(counts: Ints, resamples: int, seed: int) -> Ints:
    """Draws [B, K] of K cells."""
    n = int(counts.sum())
    if n == 0:
        return np.zeros((resamples, len(counts)), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(n, counts / n, size=resamples)


def _counts_of(draws: Ints, truth: Ints, predicted: Ints, classes: int, n: int) -> Counts:
    """Fold cell draws [B, K] into class counts; the cell's truth C stands for an unknown label."""
    right = truth == predicted

    def fold(columns: Ints, cells: NDArray[np.bool_]) -> Ints:
        out = np.zeros((classes, len(draws)), dtype=np.int64)
        np.add.at(out, columns[cells], draws.T[cells])
        return out.T

    everything = np.ones(len(truth), dtype=bool)
    return Counts(
        hits=fold(truth, right),
        told=fold(predicted, everything),
        real=fold(truth, truth < classes),
        right=draws[:, right].sum(axis=1),
        n=int(n),
    )


def _over_rows(n: int, resamples: int, seed: int, of: Callable[[Ints], Floats]) -> Floats:
    """Apply a statistic to resampled row numbers [b, N], chunk by chunk: [B]."""
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK // n)
    parts = [
        of(generator.integers(0, n, size=(min(step, resamples - start), n))) for start in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def _percentiles(samples: NDArray[np.number]) -> tuple[float, float]:
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _figure(value: float, samples: NDArray[np.number], n: int) -> Figure:
    low, high = _percentiles(samples)
    if low == high and value in (0.0, 1.0):
        low, high = wilson(value * n, n)
    return Figure(value, min(low, value), max(high, value), n)
