"""Temperature scaling (Guo et al. 2017): one number, fitted on validation, that makes confidences honest.

It changes no decision, only how sure the model says it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.2, 5.0
TINY = 1e-300  # log of it is finite


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities [N, C] of logits divided by the temperature."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    powers: NDArray[np.float64] = np.exp(scaled)
    total: NDArray[np.float64] = powers.sum(axis=1, keepdims=True)
    return powers / total


def log_loss(logits: NDArray[np.floating], targets: NDArray[np.int64], temperature: float = 1.0) -> float:
    """Mean -log p(target)."""
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(targets)), targets]))


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """The temperature with the lowest log-loss on rows whose target is known (-1 is skipped); 1.0 without rows.

    A handful of rows that are all right would ask for certainty. So the target is not 1 but what n right ones in n
    let one expect of the next, (n + 1) / (n + 2) (Platt 1999, against overfitting); the other labels share the rest.
    """
    from scipy.optimize import minimize_scalar  # not before a run has come this far

    known = targets >= 0
    if not known.any():
        return 1.0
    rows, truth = logits[known].astype(np.float64), targets[known]
    expected = (len(truth) + 1) / (len(truth) + 2)

    def loss(log_t: float) -> float:
        logs = np.log(np.maximum(softmax(rows, float(np.exp(log_t))), TINY))
        right = logs[np.arange(len(truth)), truth]
        others = (logs.sum(axis=1) - right) / (rows.shape[1] - 1)
        return float(-np.mean(expected * right + (1 - expected) * others))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))
