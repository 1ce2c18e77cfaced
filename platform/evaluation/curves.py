"""Precision–recall curves: acting above a threshold, how much is found and how much of that is right.

Two kinds. A class's curve asks "is it this class?" of every test row, by the probability of the class. The curve of
the answers asks "is the likeliest label right?", by its probability: precision is the share right among the rows acted
on, recall the share of all rows that are acted on and right, so it ends at the accuracy.

A curve's threshold is chosen on the validation rows (the best F1 there) and then measured on the test rows, which had
no say in it. The interval of an average precision is the logit interval of Boyd, Eng and Page 2013: the bootstrap
would sort every class a thousand times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.intervals import LEVEL, Figure, Z, wilson
from evaluation.metrics import Floats, Ints

MOST_POINTS = 60
"""Of one curve in a report."""
MOST_IN_ALL = 12_000
"""Of all curves of a report together: with many classes each is drawn with fewer."""
FEWEST_POINTS = 12
CERTAIN = 1e-9
"""An area closer than this to 0 or 1 is taken for it."""
USUAL_THRESHOLD = 0.5
"""Where the answers are marked: what the playground starts with."""

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Scored:
    """Probabilities [N, C] after temperature, and the truth [N] (-1: a label that training never saw)."""

    truth: Ints
    probabilities: Floats

    def of_class(self, c: int) -> tuple[Floats, Bools]:
        """Scores and positives of one class against the others."""
        return self.probabilities[:, c], self.truth == c

    def of_answers(self) -> tuple[Floats, Bools]:
        """The likeliest label's probability, and whether it is right."""
        return self.probabilities.max(axis=1), self.probabilities.argmax(axis=1) == self.truth


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall at every distinct score, the highest first; `positives` is what recall counts against."""

    threshold: Floats
    precision: Floats
    recall: Floats
    positives: int

    def average_precision(self) -> float:
        """The area under the steps of the curve."""
        return float(np.sum(np.diff(self.recall, prepend=0.0) * self.precision))

    def best_threshold(self) -> float:
        """The score with the best F1; the highest among equals."""
        total = self.precision + self.recall
        f1 = np.divide(2 * self.precision * self.recall, total, out=np.zeros_like(total), where=total > 0)
        return float(self.threshold[int(f1.argmax())])

    def at(self, threshold: float) -> tuple[float | None, float]:
        """(precision, recall) when acting on scores of at least `threshold`; no precision when nothing reaches it."""
        acted = int((self.threshold >= threshold).sum())
        return (float(self.precision[acted - 1]), float(self.recall[acted - 1])) if acted else (None, 0.0)

    def thinned(self, most: int) -> Curve:
        """At most `most` points: both ends, and the least and the greatest precision of each stretch of recall."""
        if self.threshold.size <= most:
            return self
        buckets = max(1, most // 2 - 1)
        place = np.minimum((self.recall / max(self.recall[-1], 1e-12) * buckets).astype(np.int64), buckets - 1)
        kept = {0, self.threshold.size - 1}
        for inside in np.split(np.arange(place.size), np.flatnonzero(np.diff(place)) + 1):
            kept |= {int(inside[self.precision[inside].argmin()]), int(inside[self.precision[inside].argmax()])}
        rows = np.array(sorted(kept))
        return Curve(self.threshold[rows], self.precision[rows], self.recall[rows], self.positives)


def curve(scores: Floats, positive: Bools, *, positives: int | None = None) -> Curve:
    """The curve of scores [N]; empty without rows or without positives. `positives` defaults to those of the rows."""
    total = int(positive.sum()) if positives is None else positives
    if not scores.size or not total:
        none = np.zeros(0)
        return Curve(none, none, none, total)
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.diff(ordered, append=-np.inf))  # the last row of each run of equal scores
    hits = np.cumsum(positive[order])[last]
    return Curve(ordered[last], hits / (last + 1), hits / total, total)


def average_precision_figure(found: Curve) -> Figure:
    """Average precision with its interval; n is the number of positives."""
    value, n = found.average_precision(), found.positives
    if not CERTAIN < value < 1.0 - CERTAIN:
        value = round(value)  # a sum of steps misses 1 by a hair
        return Figure(value, *wilson(value * n, n), n)
    middle, half = math.log(value / (1 - value)), Z / math.sqrt(n * value * (1 - value))
    return Figure(value, _share(middle - half), _share(middle + half), n)


def of_report(labels: Sequence[str], test: Scored, validation: Scored | None) -> dict[str, Any]:
    """The part `pr` of a report: the curve of the answers and one for each class, in the order of the labels."""
    most = max(FEWEST_POINTS, min(MOST_POINTS, MOST_IN_ALL // max(1, len(labels))))
    scores, right = test.of_answers()
    answers = curve(scores, right, positives=int(right.size))
    classes = []
    for c, label in enumerate(labels):
        found = curve(*test.of_class(c))
        chosen = _chosen_on(validation, c)
        classes.append({"label": label, **_record(found, chosen, "validation", most)})
    return {
        "answers": _record(answers, USUAL_THRESHOLD, "usual", MOST_POINTS),
        "classes": classes,
        "interval": {"level": LEVEL, "method": "logit"},
    }


def _chosen_on(validation: Scored | None, c: int) -> float | None:
    """The class's best threshold on the validation rows; None where they hold no row of it."""
    if validation is None:
        return None
    found = curve(*validation.of_class(c))
    return found.best_threshold() if found.threshold.size else None


def _record(found: Curve, threshold: float | None, source: str, most: int) -> dict[str, Any]:
    """A curve as JSON; without positives there is none, and its average precision is null.

    `steps` counts its points before thinning; `points` are [threshold, precision, recall].
    """
    if not found.threshold.size:
        return {"n": found.positives, "average_precision": None, "chosen": None, "steps": 0, "points": []}
    chosen: dict[str, Any] | None = None
    if threshold is not None:
        precision, recall = found.at(threshold)
        known = None if precision is None else _short(precision)
        chosen = {"threshold": _short(threshold), "precision": known, "recall": _short(recall), "from": source}
    kept = found.thinned(most)
    points = zip(kept.threshold, kept.precision, kept.recall, strict=True)
    return {
        "n": found.positives,
        "average_precision": average_precision_figure(found).to_json(),
        "chosen": chosen,
        "steps": int(found.threshold.size),
        "points": [[_short(value) for value in point] for point in points],
    }


def _short(value: float) -> float:
    return round(float(value), 4)


def _share(logit: float) -> float:
    # An area close to 1 has a logit in the thousands, and `exp` of that overflows on one side only.
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else 1 - 1 / (1 + math.exp(logit))
