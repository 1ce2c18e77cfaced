"""May this model go live? A verdict against the floor, and a gate with reasons.

The rule: a model passes unless the data says it is worse than the floor. "Worse" means that the whole interval of
the paired difference in macro-F1 lies below zero; equal within the interval passes, and the reason says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from evaluation.intervals import Figure

SMALL_TEST = 50  # rows; below this an interval is too wide to lean on


@dataclass(frozen=True, slots=True)
class Gate:
    """The decision and why; each reason is {"code", "message"}."""

    passed: bool
    reasons: list[dict[str, str]]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"passed": self.passed, "reasons": self.reasons}


def verdict(difference: Figure) -> dict[str, Any]:
    """The comparison in one record: points of macro-F1, interval, and a stable code for the words on the page."""
    code = "better" if difference.low > 0 else "worse" if difference.high < 0 else "equal_within_interval"
    figure = difference.to_json()
    return {
        "metric": "macro_f1",
        "better_by": figure["value"],
        "low": figure["low"],
        "high": figure["high"],
        "n": figure["n"],
        "text_code": f"{code}_than_baseline" if code != "equal_within_interval" else code,
    }


def decide(difference: Figure, *, test_macro_f1: Figure, majority_share: float, accuracy: Figure) -> Gate:
    """Apply the rule. `majority_share` is what always answering the commonest label would score."""
    reasons: list[dict[str, str]] = []
    passed = True
    points = f"{100 * difference.value:+.1f} points (95% interval {100 * difference.low:+.1f} to "
    points += f"{100 * difference.high:+.1f}, n = {difference.n})"
    if difference.high < 0:
        passed = False
        reasons.append(_reason("worse_than_baseline", f"Macro-F1 is below the baseline: {points}."))
    elif difference.low > 0:
        reasons.append(_reason("better_than_baseline", f"Macro-F1 beats the baseline: {points}."))
    else:
        reasons.append(_reason("equal_within_interval", f"Macro-F1 equals the baseline within error: {points}."))
    if accuracy.high < majority_share:
        passed = False
        share = f"{100 * majority_share:.1f} %"
        reasons.append(_reason("worse_than_majority", f"Always answering the commonest label scores {share}: more."))
    if test_macro_f1.n < SMALL_TEST:
        reasons.append(
            _reason("small_test", f"Only {test_macro_f1.n} test rows: the intervals are wide. Add rows to be sure.")
        )
    return Gate(passed, reasons)


def _reason(code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
