"""The error browser: the mistakes most worth reading, most confident first, and the worst of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT_SHOWN = 400  # characters
MOST_OF_CLASS = 5
MOST_IN_ALL = 400
"""Worst examples of all classes together: with many classes each has fewer, and at least one."""


@dataclass(frozen=True, slots=True)
class Told:
    """What was said of N rows: the label predicted and its probability, beside the truth."""

    row_ids: Sequence[int]
    texts: Sequence[str]
    truth_labels: Sequence[str]
    predicted: NDArray[np.int64]
    confidence: NDArray[np.float64]
    labels: Sequence[str]

    def wrong(self) -> list[int]:
        """Rows predicted wrong, by falling confidence (ties by row): a sure mistake is a wrong label or a lesson."""
        rows = [i for i, label in enumerate(self.truth_labels) if self.labels[self.predicted[i]] != label]
        return sorted(rows, key=lambda i: (-float(self.confidence[i]), self.row_ids[i]))

    def record(self, i: int) -> dict[str, Any]:
        """One row as the report keeps it."""
        text = self.texts[i]
        return {
            "row_id": int(self.row_ids[i]),
            "text": text if len(text) <= TEXT_SHOWN else text[: TEXT_SHOWN - 1] + "…",
            "label": self.truth_labels[i],
            "predicted": self.labels[self.predicted[i]],
            "confidence": round(float(self.confidence[i]), 6),
        }


def worst_mistakes(told: Told, limit: int = 20) -> list[dict[str, Any]]:
    """The surest mistakes of all classes."""
    return [told.record(i) for i in told.wrong()[:limit]]


def worst_of_classes(told: Told) -> dict[str, list[dict[str, Any]]]:
    """The surest mistakes of each class that has any: rows of the class that were taken for another."""
    most = max(1, min(MOST_OF_CLASS, MOST_IN_ALL // max(1, len(told.labels))))
    found: dict[str, list[dict[str, Any]]] = {}
    for i in told.wrong():
        known = found.setdefault(told.truth_labels[i], [])
        if len(known) < most:
            known.append(told.record(i))
    return found


def confused_pairs(matrix: NDArray[np.int64], labels: Sequence[str], limit: int = 10) -> list[dict[str, Any]]:
    """The commonest (truth, prediction) slips off the diagonal."""
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(labels)) for cell in order]
    return [{"label": labels[a], "predicted": labels[b], "n": int(off[a, b])} for a, b in pairs if off[a, b] > 0]
