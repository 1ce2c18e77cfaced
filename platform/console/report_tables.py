"""The tables behind a report's drawings, as the page shows them and as files: classes, confusion, curves, errors, ….

The threshold table is derived from the calibration bins, so reports made before there were curves have it too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Table = tuple[list[str], list[list[Any]]]
"""A head and its rows."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Acting only on answers above `at`: the share of test rows acted on, and the share of those that are right."""

    at: float
    share: float
    accuracy: float
    n: int


def thresholds_of(data: dict[str, Any], *, most: int = 0) -> list[Threshold]:
    """One line for each edge of a calibration bin that tells rows apart; `most` keeps an even choice, ends included."""
    bins = sorted((b for b in data.get("calibration", {}).get("bins", []) if b["n"]), key=lambda b: b["low"])
    total = sum(b["n"] for b in bins)
    lines, above, right = [], 0, 0.0
    for one in reversed(bins):
        above += one["n"]
        right += one["n"] * one["accuracy"]
        lines.append(Threshold(one["low"], above / total, right / above, above))
    lines.reverse()
    if not most or len(lines) <= most:
        return lines
    kept = sorted({round(i * (len(lines) - 1) / (most - 1)) for i in range(most)})
    return [lines[i] for i in kept]


def _classes(data: dict[str, Any]) -> Table:
    head = ["label", "f1", "f1_low", "f1_high", "precision", "recall", "rows", "average_precision", "threshold"]
    keys = ("label", "f1", "f1_low", "f1_high", "precision", "recall", "n")
    rows = sorted(data.get("per_class", []), key=lambda row: str(row["label"]))
    curves = {one["label"]: one for one in data.get("pr", {}).get("classes", [])}
    return head, [[*(row.get(key) for key in keys), *_of_curve(curves.get(row["label"]))] for row in rows]


def _of_curve(curve: dict[str, Any] | None) -> list[Any]:
    """A class's average precision and the threshold chosen for it; nothing in a report without curves."""
    average, chosen = ((curve or {}).get(key) or {} for key in ("average_precision", "chosen"))
    return [average.get("value"), chosen.get("threshold")]


def _curves(data: dict[str, Any]) -> Table:
    """Every point of every curve; the curve of the answers has no label."""
    found = data.get("pr") or {"answers": {"points": []}, "classes": []}
    curves = [("", found["answers"]), *((one["label"], one) for one in found["classes"])]
    return ["label", "threshold", "precision", "recall"], [
        [label, *point] for label, curve in curves for point in curve["points"]
    ]


def _confusion(data: dict[str, Any]) -> Table:
    labels = [str(label) for label in data.get("labels", [])]
    counts: Sequence[Sequence[int]] = data.get("confusion", [])
    return ["true \\ predicted", *labels], [[name, *row] for name, row in zip(labels, counts, strict=False)]


def _calibration(data: dict[str, Any]) -> Table:
    keys = ["low", "high", "n", "confidence", "accuracy"]
    return keys, [[one.get(key) for key in keys] for one in data.get("calibration", {}).get("bins", [])]


def _thresholds(data: dict[str, Any]) -> Table:
    head = ["threshold", "share_answered", "accuracy_of_answered", "rows"]
    return head, [[line.at, line.share, line.accuracy, line.n] for line in thresholds_of(data)]


def _errors(data: dict[str, Any]) -> Table:
    keys = ["row_id", "text", "label", "predicted", "confidence"]
    return keys, [[error.get(key) for key in keys] for error in data.get("errors", [])]


def _hardest(data: dict[str, Any]) -> Table:
    """Of a model that writes: the test rows with the highest loss."""
    keys = ["row_id", "text", "loss", "baseline_loss", "tokens"]
    return keys, [[row.get(key) for key in keys] for row in data.get("hardest", [])]


TABLES: dict[str, Callable[[dict[str, Any]], Table]] = {
    "classes": _classes,
    "confusion": _confusion,
    "calibration": _calibration,
    "curves": _curves,
    "thresholds": _thresholds,
    "errors": _errors,
    "hardest": _hardest,
}
"""Name in the address → table of a report's JSON."""
