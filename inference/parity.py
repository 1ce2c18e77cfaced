"""Whether the serving path answers as the model did at training time: one rule per task."""

from __future__ import annotations

import numpy as np

from inference.tasks import CLASSIFICATION, MULTI_LABEL, REGRESSION, RERANK
from inference.tensors import Array

TOLERANCE = {"bf16": 0.05, "fp32": 0.002}
"""Largest difference in a probability; in a number of a unit vector; in a quantity, of itself where it is over one."""
WRITING_TOLERANCE = {"bf16": 0.5, "fp32": 0.01}
"""Largest difference in a token's log-probability, where text is written."""


def compare(task: str, found: Array, expected: Array, tolerance: float) -> tuple[float, float, int]:
    """(worst, mean, flips) of [texts, width] answers: differences, and how many answers changed for good."""
    difference = np.abs(found - expected)
    flips = 0
    if task == REGRESSION:
        difference = difference / np.maximum(np.abs(expected), 1)
    elif task in (MULTI_LABEL, RERANK):
        clear = np.abs(expected - 0.5) > tolerance
        flips = int((((found > 0.5) != (expected > 0.5)) & clear).any(axis=1).sum())
    elif task == CLASSIFICATION:
        top_two = np.sort(expected, axis=1)[:, -2:]
        clear = top_two[:, 1] - top_two[:, 0] > tolerance  # a near tie may fall either way without meaning anything
        flips = int(((found.argmax(1) != expected.argmax(1)) & clear).sum())
    return float(difference.max()), float(difference.mean()), flips


def compare_tokens(found: Array, expected: Array, tolerance: float) -> tuple[float, float, int]:
    """As `compare`, of one text: the likeliest label of each token and its chance [tokens, 2], with all chances
    [tokens, labels]."""
    chosen = found[:, 0].astype(int)
    difference = np.abs(found[:, 1] - expected[np.arange(len(expected)), chosen])
    top_two = np.sort(expected, axis=1)[:, -2:]
    clear = top_two[:, 1] - top_two[:, 0] > tolerance
    flips = int(((chosen != expected.argmax(1)) & clear).sum())
    return float(difference.max()), float(difference.mean()), flips


def compare_ends(found: Array, expected: Array, tolerance: float) -> tuple[float, float, int]:
    """As `compare`, of one question: numbers for start and end of an answer [tokens, 2], as shares of each column."""
    found, expected = _shares(found), _shares(expected)
    difference = np.abs(found - expected)
    top_two = np.sort(expected, axis=0)[-2:]
    clear = top_two[-1] - top_two[0] > tolerance
    flips = int(((found.argmax(0) != expected.argmax(0)) & clear).sum())
    return float(difference.max()), float(difference.mean()), flips


def _shares(numbers: Array) -> Array:
    exponents = np.exp(numbers - numbers.max(axis=0))
    shares: Array = exponents / exponents.sum(axis=0)
    return shares
