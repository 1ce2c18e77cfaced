"""Reading the engine's raw float32 rows."""

from __future__ import annotations

from array import array

from inference.wire import Classified

DIGITS = 6
_SCALE = 10.0**DIGITS


def probabilities(result: Classified) -> list[list[float]]:
    """One list of probabilities per text, in the order of the model's labels."""
    return floats(result.probabilities, result.width)


def rounded(probabilities: list[float], order: list[int]) -> list[float]:
    """Those of `order`, to DIGITS places. `round` goes through text, which takes several times as long."""
    return [int(probabilities[i] * _SCALE + 0.5) / _SCALE for i in order]


def floats(raw: bytes, width: int) -> list[list[float]]:
    """Packed float32 as rows of `width` numbers."""
    flat = array("f", raw).tolist()
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def used_tokens(lengths: list[int], limit: int) -> int:
    """Tokens that were read and are paid for."""
    return sum(min(length, limit) for length in lengths)


def cut(lengths: list[int], limit: int) -> int:
    """How many texts were longer than the model reads."""
    return sum(length > limit for length in lengths)
