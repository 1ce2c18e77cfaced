"""Whether the serving path answers as the model did at training time: one rule per task."""

from __future__ import annotations

import numpy as np

from inference.tensors import Array

TOLERANCE = {"bf16": 0.05, "fp32": 0.002}
"""Largest difference in a probability; in a number of a unit vector; in a quantity, of itself where it is over one."""


def compare(task: str, found: Array, expected: Array, tolerance: float) -> tuple[float, float, int]:
    """(worst, mean, flips) of [texts, width] answers: differences, and how many answers changed for good."""
    difference = np.abs(found - expected)
    flips = 0
    if task == "regression":
        difference = difference / np.maximum(np.abs(expected), 1)
    elif task == "multi-label-classification":
        clear = np.abs(expected - 0.5) > tolerance
        flips = int((((found > 0.5) != (expected > 0.5)) & clear).any(axis=1).sum())
    elif task == "text-classification":
        top_two = np.sort(expected, axis=1)[:, -2:]
        clear = top_two[:, 1] - top_two[:, 0] > tolerance  # a near tie may fall either way without meaning anything
        flips = int(((found.argmax(1) != expected.argmax(1)) & clear).sum())
    return float(difference.max()), float(difference.mean()), flips
