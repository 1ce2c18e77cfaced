"""Two reports side by side: figures, classes and settings, and whether the same rows measured both."""

from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from console.reports import Figure, class_rows, figures_of
from console.templatetags.look import big, count, duration
from registry.models import ModelVersion


@dataclass(frozen=True, slots=True)
class FigureLine:
    """One measure of both; `apart` when the intervals do not touch, so that chance is no easy explanation."""

    name: str
    a: Figure | None
    b: Figure | None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        if self.a is None or self.b is None or self.a.value is None or self.b.value is None:
            return None
        return self.b.value - self.a.value

    @property
    def apart(self) -> bool:
        """Whether the two 95% intervals leave a gap."""
        if self.a is None or self.b is None or None in (self.a.low, self.a.high, self.b.low, self.b.high):
            return False
        return bool(self.a.high < self.b.low or self.b.high < self.a.low)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class ClassLine:
    """F1 of one class in both; None where a report does not know the class."""

    label: str
    a: float | None
    b: float | None
    a_rows: int | None
    b_rows: int | None

    @property
    def difference(self) -> float | None:
        """B minus A."""
        return None if self.a is None or self.b is None else self.b - self.a


def same_rows(a: ModelVersion, b: ModelVersion) -> bool:
    """Whether one dataset version measured both: its rows, its split, so the very same test rows."""
    return bool(a.dataset_sha256) and a.dataset_sha256 == b.dataset_sha256


def figure_lines(a: dict[str, Any], b: dict[str, Any]) -> list[FigureLine]:
    """Every figure that either report has."""
    left = {one.name: one for one in figures_of(a)}
    right = {one.name: one for one in figures_of(b)}
    return [FigureLine(name, left.get(name), right.get(name)) for name in {**left, **right}]


def class_lines(a: dict[str, Any], b: dict[str, Any]) -> list[ClassLine]:
    """Every class of either report, the largest change first, classes that only one knows last."""
    left = {row.label: row for row in class_rows(a.get("per_class", []), "label")}
    right = {row.label: row for row in class_rows(b.get("per_class", []), "label")}
    lines = [
        ClassLine(
            label,
            left[label].f1 if label in left else None,
            right[label].f1 if label in right else None,
            left[label].n if label in left else None,
            right[label].n if label in right else None,
        )
        for label in {**left, **right}
    ]
    return sorted(lines, key=lambda line: (line.difference is None, -abs(line.difference or 0.0), line.label))


def setting_lines(a: ModelVersion, b: ModelVersion) -> list[tuple[str, str, str]]:
    """How the two were made, line by line."""
    left, right = _settings(a), _settings(b)
    return [(name, left[name], right[name]) for name in left]


def _settings(version: ModelVersion) -> dict[str, str]:
    training, n = version.report.get("training", {}), version.report.get("n", {})
    return {
        _("Base"): version.model.base,
        _("Method"): version.method or "–",
        _("Train rows"): count(n.get("train")),
        _("Test rows"): count(n.get("test")),
        _("Best epoch"): f"{training['best_epoch']} / {training['epochs_run']}" if training.get("best_epoch") else "–",
        _("Seed"): str(training.get("seed", "–")),
        _("Tokens"): big(training.get("tokens")),
        _("Training time"): duration(training.get("seconds")),
        _("Baseline"): str(version.report.get("baseline", {}).get("name", "–")),
    }
