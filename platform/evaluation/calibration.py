"""Does 0.8 mean "right in 8 of 10"? Reliability bins and the expected calibration error.

Bins are equal in width over [0, 1]; a confidence on an inner edge belongs to the lower bin, as in Guo et al. 2017.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose confidence lies in (low, high]: how many, what they claimed, what came true."""

    low: float
    high: float
    n: int
    confidence: float
    accuracy: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def bin_of(confidence: NDArray[np.float64], bins: int = BINS) -> NDArray[np.int64]:
    """The bin of each row [N]."""
    return np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)


def reliability_bins(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> list[Bin]:
    """All bins, empty ones with n = 0."""
    index = bin_of(confidence, bins)
    count = np.bincount(index, minlength=bins)
    claimed = np.bincount(index, weights=confidence, minlength=bins)
    true = np.bincount(index, weights=correct, minlength=bins)
    some = np.maximum(count, 1)
    return [
        Bin(i / bins, (i + 1) / bins, int(count[i]), float(claimed[i] / some[i]), float(true[i] / some[i]))
        for i in range(bins)
    ]


def expected_calibration_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = BINS) -> float:
    """Mean gap between claimed and true, weighted by rows; 0 for no rows."""
    if not confidence.size:
        return 0.0
    gap = np.bincount(bin_of(confidence, bins), weights=confidence - correct, minlength=bins)
    return float(np.abs(gap).sum() / confidence.size)
