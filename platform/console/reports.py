"""A report's JSON as its page shows it: verdict in words, figures, matrix, calibration, classes, errors."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from console.calibration import calibration_chart
from console.numbers import interval, number
from console.report_curves import CurveView, curve_of
from console.report_tables import Threshold, thresholds_of
from evaluation.calibration import Bin
from inference.tasks import TEXT_GENERATION
from kit import charts

FEW_ROWS = 50
WEAK = 0.7
MOST_CELLS = 200
"""Classes of the largest matrix that a page shows whole; a larger one is a file."""
SORTS = ("f1", "precision", "recall", "n", "label")


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured value with its 95% interval and the number of rows behind it."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    other: float | None = None
    """The baseline's value, where there is one."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """One line of the per-class table."""

    label: str
    f1: float
    precision: float
    recall: float
    n: int
    low: float | None
    high: float | None
    note: str = ""
    average_precision: float | None = None
    examples: int = 0
    """Mistakes of the class that the report keeps to read."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything the report page needs."""

    verdict: str
    tone: str
    gate_passed: bool
    reasons: list[str]
    figures: list[Figure]
    matrix: charts.Matrix
    calibration: str
    bins: list[Bin]
    calibration_text: str
    classes: list[ClassRow]
    errors: list[dict[str, Any]]
    training: dict[str, Any]
    baseline: str
    limits: list[str]
    n: dict[str, int] = field(default_factory=dict)
    thresholds: list[Threshold] = field(default_factory=list)
    curve: CurveView | None = None
    shown: str = ""
    """The class whose curve and errors are shown; empty for all."""
    writes: bool = False
    """Of a model that writes text: it has no classes, matrix, calibration or mistakes, but rows it finds hard."""
    hardest: list[dict[str, Any]] = field(default_factory=list)


def report_of(data: dict[str, Any], *, sort: str = "f1", shown: str = "", whole: bool = False) -> Report:
    """The page's view of a report of format 1, of one class where `shown` names one; `whole` asks for all of a matrix.

    Missing parts stay empty: an old report still opens.
    """
    labels = [str(label) for label in data.get("labels", [])]
    bins = [
        Bin(b["low"], b["high"], b["n"], b["confidence"], b["accuracy"])
        for b in data.get("calibration", {}).get("bins", [])
    ]
    classes = _with_curves(class_rows(data.get("per_class", []), sort), data)
    shown = shown if "pr" in data and shown in labels else ""
    verdict, tone = verdict_of(data, classes)
    return Report(
        verdict=verdict,
        tone=tone,
        gate_passed=bool(data.get("gate", {}).get("passed")),
        reasons=[_words(r) for r in data.get("gate", {}).get("reasons", [])],
        figures=figures_of(data),
        matrix=_matrix(labels, data.get("confusion", []), whole),
        calibration=calibration_chart(bins),
        bins=bins,
        calibration_text=_calibration_text(data),
        classes=classes,
        errors=_errors_of(data, shown),
        training=dict(data.get("training", {})),
        baseline=str(data.get("baseline", {}).get("name", "")),
        limits=[_words(x) for x in data.get("limits", [])],
        n={k: int(v) for k, v in data.get("n", {}).items()},
        thresholds=thresholds_of(data, most=8),
        curve=curve_of(data, shown),
        shown=shown,
        writes=data.get("task") == TEXT_GENERATION,
        hardest=list(data.get("hardest", []))[:20],
    )


def _errors_of(data: dict[str, Any], shown: str) -> list[dict[str, Any]]:
    """The mistakes to read: the surest of all, or of the class shown."""
    return list(data.get("errors_by_class", {}).get(shown, []) if shown else data.get("errors", []))[:20]


def _with_curves(rows: list[ClassRow], data: dict[str, Any]) -> list[ClassRow]:
    """The lines with what a report with curves knows besides."""
    curves = {one["label"]: one["average_precision"] or {} for one in data.get("pr", {}).get("classes", [])}
    errors = data.get("errors_by_class", {})
    return [
        replace(
            row,
            average_precision=curves.get(row.label, {}).get("value"),
            examples=len(errors.get(row.label, [])),
        )
        for row in rows
    ]


def _words(item: Any) -> str:
    """The sentence of a {"code", "message"} record, or the item itself."""
    return str(item.get("message", item.get("code", ""))) if isinstance(item, dict) else str(item)


def _matrix(labels: list[str], counts: Sequence[Sequence[int]], whole: bool) -> charts.Matrix:
    """The worst classes where there are many, or every one if asked and a page can hold it."""
    if not counts:
        return charts.Matrix([], [], 0)
    most = MOST_CELLS if whole and len(labels) <= MOST_CELLS else charts.MOST_CLASSES
    return charts.confusion_matrix(labels, counts, most=most)


def figures_of(data: dict[str, Any]) -> list[Figure]:
    """The headline figures, with the baseline's beside them."""
    test, baseline = data.get("test", {}), data.get("baseline", {})
    names: tuple[tuple[str, str], ...] = (
        ("macro_f1", _("macro-F1")),
        ("accuracy", _("accuracy")),
        ("ece", _("ECE")),
        ("log_loss", _("log loss")),
        ("perplexity", _("perplexity")),
        ("loss", _("loss per token")),
        ("token_accuracy", _("token accuracy")),
    )
    out = []
    for key, name in names:
        found = test.get(key)
        if found is None:
            continue
        found = found if isinstance(found, dict) else {"value": found}
        other = baseline.get(key)
        out.append(
            Figure(
                name=name,
                value=found.get("value"),
                low=found.get("low"),
                high=found.get("high"),
                n=found.get("n", data.get("n", {}).get("test")),
                other=other.get("value") if isinstance(other, dict) else other,
            )
        )
    return out


def class_rows(raw: Sequence[dict[str, Any]], sort: str) -> list[ClassRow]:
    """Per-class lines, weakest first unless asked otherwise; `-f1` turns the order round."""
    key = sort.lstrip("-")
    key = key if key in SORTS else "f1"
    rows = [
        ClassRow(
            label=str(r["label"]),
            f1=r["f1"],
            precision=r["precision"],
            recall=r["recall"],
            n=r["n"],
            low=r.get("f1_low"),
            high=r.get("f1_high"),
            note=_note(r),
        )
        for r in raw
    ]
    return sorted(rows, key=lambda row: getattr(row, key), reverse=sort.startswith("-"))


def _note(row: dict[str, Any]) -> str:
    if row["n"] < FEW_ROWS and row["f1"] < WEAK:
        return ngettext("%(n)s test row: add more", "%(n)s test rows: add more", row["n"]) % {"n": row["n"]}
    if row["f1"] < WEAK:
        return _("weak: read its errors")
    return ""


def verdict_of(data: dict[str, Any], classes: list[ClassRow]) -> tuple[str, str]:
    """One sentence against the baseline, and its tone; an interval over zero never counts as better."""
    verdict = data.get("verdict", {})
    by, low, high = verdict.get("better_by"), verdict.get("low"), verdict.get("high")
    if by is None:
        return _("No baseline to compare with."), "muted"
    span = "" if low is None or high is None else f" ({interval(low, high)})"
    if verdict.get("metric") == "loss":
        return _verdict_of_loss(by, low, high, span)
    weak = [row.label for row in sorted(classes, key=lambda r: r.f1) if row.f1 < WEAK][:3]
    tail = " " + _("Weak on %(labels)s.") % {"labels": ", ".join(weak)} if weak else ""
    if low is not None and low > 0:
        text = _("Better than the baseline by %(by)s macro-F1%(span)s.") % {"by": number(by), "span": span}
        return text + tail, "ok"
    if high is not None and high < 0:
        text = _("Worse than the baseline by %(by)s macro-F1%(span)s. Use the cheap model or add data.")
        return text % {"by": number(-by), "span": span} + tail, "danger"
    text = _("Cannot be told apart from the baseline: difference %(by)s macro-F1%(span)s. More rows would decide it.")
    return text % {"by": number(by), "span": span} + tail, "warn"


def _verdict_of_loss(by: float, low: float | None, high: float | None, span: str) -> tuple[str, str]:
    """The same for a model that writes, beside the base it was made from."""
    if low is not None and low > 0:
        text = _("Better than the untuned base: %(by)s less loss a token%(span)s.")
        return text % {"by": number(by), "span": span}, "ok"
    if high is not None and high < 0:
        text = _("Worse than the untuned base: %(by)s more loss a token%(span)s. Lower the learning rate or add data.")
        return text % {"by": number(-by), "span": span}, "danger"
    text = _("Cannot be told apart from the untuned base: %(by)s less loss a token%(span)s. More rows would decide it.")
    return text % {"by": number(by), "span": span}, "warn"


def _calibration_text(data: dict[str, Any]) -> str:
    ece = data.get("test", {}).get("ece")
    value = ece.get("value") if isinstance(ece, dict) else ece
    if value is None:
        return _("Calibration was not measured.")
    temperature = data.get("calibration", {}).get("temperature")
    text = _("Expected calibration error %(ece)s") % {"ece": number(value, 3)}
    return f"{text}, " + _("temperature %(t)s") % {"t": number(temperature)} if temperature else text
