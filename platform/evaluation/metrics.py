"""Classification metrics from integer labels and probabilities.

Shapes: N rows, C classes. `truth` and `predicted` are int arrays [N] with values 0..C-1; a truth of -1 is a label
the model never saw in training: it counts as a mistake in accuracy and as a false positive of what was predicted,
and has no column of its own. Macro-F1 is the mean over the classes that occur in the truth (scikit-learn's
`f1_score(average="macro", labels=<classes present>)`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class PerClass:
    """One value per class [C]; a ratio with an empty denominator is 0."""

    precision: Floats
    recall: Floats
    f1: Floats
    n: Ints


def confusion(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts [C, C]: rows are the truth, columns the prediction. Rows with truth -1 are left out."""
    known = truth >= 0
    codes = truth[known] * classes + predicted[known]
    return np.bincount(codes, minlength=classes * classes).reshape(classes, classes).astype(np.int64)


def accuracy(truth: Ints, predicted: Ints) -> float:
    """Share of rows predicted right; 0 for no rows."""
    return float(np.mean(truth == predicted)) if truth.size else 0.0


def per_class(truth: Ints, predicted: Ints, classes: int) -> PerClass:
    """Precision, recall, F1 and number of true rows of each class."""
    hits, told, real = class_counts(truth, predicted, classes)
    return PerClass(
        precision=_ratio(hits, told), recall=_ratio(hits, real), f1=f1_from_counts(hits, told, real), n=real
    )


def macro_f1(truth: Ints, predicted: Ints, classes: int) -> float:
    """Mean F1 over the classes that occur in the truth; 0 when none does."""
    hits, told, real = class_counts(truth, predicted, classes)
    return float(macro_from_counts(hits, told, real))


def micro_f1(truth: Ints, predicted: Ints) -> float:
    """F1 over all decisions together; with one label a row it equals the accuracy."""
    return accuracy(truth, predicted)


def class_counts(truth: Ints, predicted: Ints, classes: int) -> tuple[Ints, Ints, Ints]:
    """(hits, predicted, true) counts per class, each [C]."""
    hits = np.bincount(predicted[truth == predicted], minlength=classes).astype(np.int64)
    told = np.bincount(predicted, minlength=classes).astype(np.int64)
    real = np.bincount(truth[truth >= 0], minlength=classes).astype(np.int64)
    return hits, told, real


def f1_from_counts(hits: NDArray[np.number], told: NDArray[np.number], real: NDArray[np.number]) -> Floats:
    """F1 per class from counts [..., C]: 2 hits / (predicted + true)."""
    return _ratio(2 * hits, told + real)


def macro_from_counts(hits: NDArray[np.number], told: NDArray[np.number], real: NDArray[np.number]) -> Floats:
    """Macro-F1 from counts [..., C], over the classes with true rows: [...]."""
    present = real > 0
    total = np.where(present, f1_from_counts(hits, told, real), 0.0).sum(axis=-1)
    return _ratio(total, present.sum(axis=-1))


def row_log_loss(probabilities: Floats, truth: Ints) -> Floats:
    """-log p(truth) per row [M], over the rows whose truth is known."""
    known = np.flatnonzero(truth >= 0)
    return -np.log(np.clip(probabilities[known, truth[known]], _TINY, 1.0))


def row_brier(probabilities: Floats, truth: Ints) -> Floats:
    """Squared distance to the one-hot truth per row [M], over the rows whose truth is known (0 best, 2 worst)."""
    known = np.flatnonzero(truth >= 0)
    right = probabilities[known, truth[known]]
    return (probabilities[known] ** 2).sum(axis=1) - 2 * right + 1.0


def _ratio(top: NDArray[np.number], bottom: NDArray[np.number]) -> Floats:
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom > 0)
