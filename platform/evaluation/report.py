"""The report of a trained classifier: every figure with n and an interval, beside the floor.

`build` is pure: arrays in, one JSON-ready dict out (format 1). Keys may be added; none changes its meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation import abstention, calibration, curves, gate, intervals, metrics, mistakes
from evaluation.metrics import Floats, Ints

FORMAT = 1


@dataclass(frozen=True, slots=True)
class TestRows:
    """The test split as the report needs it. Shapes: N rows, C classes; truth -1 is a label unseen in training."""

    row_ids: Sequence[int]
    texts: Sequence[str]
    truth_labels: Sequence[str]
    truth: Ints
    probabilities: Floats  # [N, C], after temperature
    baseline: Ints  # the floor's predictions [N]

    __test__ = False  # not a pytest class


def build(
    *,
    task: str,
    labels: Sequence[str],
    rows: TestRows,
    counts: dict[str, int],
    temperature: float,
    baseline_name: str,
    training: dict[str, Any],
    limits: list[dict[str, str]],
    resamples: int = intervals.RESAMPLES,
    seed: int = 0,
    validation: curves.Scored | None = None,
) -> dict[str, Any]:
    """The report. `counts` are rows per split; `training` and `limits` are passed on as they are.

    Thresholds, of the precision–recall curves and of abstention, are chosen on `validation`; without it none is, and
    the part `abstention` is left out.
    """
    classes = len(labels)
    predicted = rows.probabilities.argmax(axis=1).astype(np.int64)
    confidence = rows.probabilities.max(axis=1)
    correct = predicted == rows.truth
    draws = intervals.draw_counts(rows.truth, predicted, classes, resamples=resamples, seed=seed)
    accuracy = intervals.accuracy_figure(rows.truth, predicted, draws)
    macro = intervals.macro_f1_figure(rows.truth, predicted, classes, draws)
    paired = intervals.paired_differences(rows.truth, predicted, rows.baseline, classes, resamples=resamples, seed=seed)
    matrix = metrics.confusion(rows.truth, predicted, classes)
    majority = float(matrix.sum(axis=1).max() / max(1, rows.truth.size))
    decision = gate.decide(paired["macro_f1"], test_macro_f1=macro, majority_share=majority, accuracy=accuracy)
    tested = curves.Scored(rows.truth, rows.probabilities)
    told = mistakes.Told(rows.row_ids, rows.texts, rows.truth_labels, predicted, confidence, labels)
    return {
        "format": FORMAT,
        "task": task,
        "labels": list(labels),
        "n": counts,
        "test": {
            "accuracy": accuracy.to_json(),
            "macro_f1": macro.to_json(),
            "micro_f1": accuracy.to_json(),
            **_probability_figures(rows, confidence, correct, resamples, seed),
        },
        "per_class": _per_class(labels, rows.truth, predicted, draws),
        "confusion": matrix.tolist(),
        "confused": mistakes.confused_pairs(matrix, labels),
        "calibration": {
            "temperature": round(temperature, 6),
            "bins": [item.to_json() for item in calibration.reliability_bins(confidence, correct)],
        },
        "baseline": _baseline(baseline_name, rows, classes, resamples, seed, paired),
        "verdict": gate.verdict(paired["macro_f1"]),
        "gate": decision.to_json(),
        "pr": curves.of_report(labels, tested, validation),
        **({} if validation is None else {"abstention": abstention.table(validation, tested)}),
        "errors": mistakes.worst_mistakes(told),
        "errors_by_class": mistakes.worst_of_classes(told),
        "error_count": int((~correct).sum()),
        "training": training,
        "limits": limits,
        "interval": {"level": intervals.LEVEL, "method": "percentile bootstrap", "resamples": resamples, "seed": seed},
    }


def _probability_figures(
    rows: TestRows, confidence: Floats, correct: npt.NDArray[np.bool_], resamples: int, seed: int
) -> dict[str, Any]:
    """What is measured on the probabilities, not only on the likeliest label."""
    return {
        "ece": intervals.ece_figure(confidence, correct, resamples=resamples, seed=seed).to_json(),
        "log_loss": _mean(metrics.row_log_loss(rows.probabilities, rows.truth), resamples, seed),
        "brier": _mean(metrics.row_brier(rows.probabilities, rows.truth), resamples, seed),
    }


def _mean(values: Floats, resamples: int, seed: int) -> dict[str, Any]:
    return intervals.mean_figure(values, resamples=resamples, seed=seed).to_json()


def _per_class(labels: Sequence[str], truth: Ints, predicted: Ints, draws: intervals.Counts) -> list[dict[str, Any]]:
    table = metrics.per_class(truth, predicted, len(labels))
    figures = intervals.class_f1_figures(truth, predicted, len(labels), draws)
    return [
        {
            "label": label,
            "precision": round(float(table.precision[c]), 6),
            "recall": round(float(table.recall[c]), 6),
            "f1": round(float(table.f1[c]), 6),
            "n": int(table.n[c]),
            "f1_low": round(figures[c].low, 6),
            "f1_high": round(figures[c].high, 6),
        }
        for c, label in enumerate(labels)
    ]


def _baseline(
    name: str,
    rows: TestRows,
    classes: int,
    resamples: int,
    seed: int,
    paired: dict[str, intervals.Figure],
) -> dict[str, Any]:
    draws = intervals.draw_counts(rows.truth, rows.baseline, classes, resamples=resamples, seed=seed)
    return {
        "name": name,
        "accuracy": intervals.accuracy_figure(rows.truth, rows.baseline, draws).to_json(),
        "macro_f1": intervals.macro_f1_figure(rows.truth, rows.baseline, classes, draws).to_json(),
        "accuracy_difference": paired["accuracy"].to_json(),
        "macro_f1_difference": paired["macro_f1"].to_json(),
    }
