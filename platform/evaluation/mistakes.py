"""The error browser: the mistakes most worth reading, most confident first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

TEXT_SHOWN = 400  # characters


def worst_mistakes(
    *,
    row_ids: Sequence[int],
    texts: Sequence[str],
    truth_labels: Sequence[str],
    predicted: NDArray[np.int64],
    confidence: NDArray[np.float64],
    labels: Sequence[str],
    limit: int = 20,
) -> list[dict[str, Any]]:
    """Rows predicted wrong, by falling confidence (ties by row): a sure mistake is a wrong label or a lesson."""
    wrong = [i for i, label in enumerate(truth_labels) if labels[predicted[i]] != label]
    wrong.sort(key=lambda i: (-float(confidence[i]), row_ids[i]))
    return [
        {
            "row_id": int(row_ids[i]),
            "text": texts[i] if len(texts[i]) <= TEXT_SHOWN else texts[i][: TEXT_SHOWN - 1] + "…",
            "label": truth_labels[i],
            "predicted": labels[predicted[i]],
            "confidence": round(float(confidence[i]), 6),
        }
        for i in wrong[:limit]
    ]


def confused_pairs(matrix: NDArray[np.int64], labels: Sequence[str], limit: int = 10) -> list[dict[str, Any]]:
    """The commonest (truth, prediction) slips off the diagonal."""
    off = matrix.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(cell), len(labels)) for cell in order]
    return [{"label": labels[a], "predicted": labels[b], "n": int(off[a, b])} for a, b in pairs if off[a, b] > 0]
