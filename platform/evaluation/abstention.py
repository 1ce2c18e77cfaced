"""When a classifier should say "I do not know": thresholds of confidence with a promise of precision.

Answering only where the likeliest label's probability reaches a threshold is selective classification (Chow 1970;
El-Yaniv and Wiener 2010). What the threshold promises is bounded in the way of Geifman and El-Yaniv 2017 ("Selective
Classification for Deep Neural Networks"): candidate thresholds are fixed on rows that have no part in the measurement
(the validation rows), and on the test rows, which chose nothing, the answered ones that are right are a binomial count
given how many are answered. Clopper and Pearson's exact one-sided bound (1934), at an error of 0.05 shared out equally
among the thresholds (Bonferroni), holds for all of them at once, so a precision may be chosen after looking at the
curve.

It does not promise: anything about texts that come from elsewhere than the test rows did.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.curves import Scored

CONFIDENCE = 0.95
"""That every bound of a table holds."""
STEPS = 20
"""Candidate thresholds at most, at equal steps of coverage of the validation rows. Each costs all of them a little."""
ROWS_A_STEP = 20
"""Test rows that shall lie between two thresholds: what fewer reach could prove nothing, and would cost the others."""
DIGITS = 6


def table(validation: Scored, test: Scored) -> dict[str, Any]:
    """The part `abstention` of a report: for each threshold, lowest first, how many test rows reach it, how many of
    those are right, and what precision is certain enough to be promised."""
    scores, right = test.of_answers()
    steps = max(1, min(STEPS, scores.size // ROWS_A_STEP))  # how many rows, not which are right
    thresholds = candidates(validation.probabilities.max(axis=1), steps)
    error = (1 - CONFIDENCE) / len(thresholds)
    points = []
    for threshold in thresholds:
        answered = scores >= threshold
        n, good = int(answered.sum()), int((answered & right).sum())
        points.append(
            {
                "threshold": threshold,
                "n": n,
                "right": good,
                "precision": round(good / n, DIGITS) if n else None,
                "at_least": _floor(lower_bound(good, n, error)),
                "coverage": round(n / max(1, scores.size), DIGITS),
            }
        )
    return {"confidence": CONFIDENCE, "method": "clopper-pearson", "n": int(scores.size), "points": points}


def candidates(scores: NDArray[np.float64], steps: int = STEPS) -> list[float]:
    """Thresholds that equal shares of the scores reach; the first is 0, which everything reaches."""
    shares = np.arange(1, steps) / steps
    found = np.quantile(scores, shares, method="higher") if scores.size else np.zeros(0)
    return sorted({0.0, *(round(float(value), DIGITS) for value in found)})


def lower_bound(right: int, n: int, error: float) -> float:
    """What the share behind `right` of `n` is at least, wrong with a chance of at most `error` (Clopper–Pearson)."""
    from scipy.special import betaincinv  # a quarter of a second that a run need not wait before it has trained

    return float(betaincinv(right, n - right + 1, error)) if right else 0.0


def _floor(value: float) -> float:
    """Rounded down: a bound must not grow by being written."""
    return float(np.floor(value * 10**DIGITS) / 10**DIGITS)
