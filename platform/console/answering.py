"""When a deployment answers: the precision it is set to, and the curve of what its held-out rows promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from kit import charts
from kit.charts.lines import LineChart, Series
from registry.bases import TEXT_CLASSIFICATION
from serving.abstaining import HeldOut, Point, default_rule, held_out_of
from serving.models import Deployment


class PrecisionForm(forms.Form):
    """The share of answers that shall be right, in per cent; empty answers always."""

    api_names: ClassVar[dict[str, str]] = {"precision": "percent"}

    percent = forms.FloatField(
        label=gettext_lazy("Answer only when at least this many of 100 answers are right"),
        min_value=0.1,
        max_value=100,
        required=False,
        widget=forms.NumberInput(attrs={"inputmode": "decimal", "step": "any"}),
    )

    def precision(self) -> float | None:
        """As a share."""
        percent: float | None = self.cleaned_data["percent"]
        return None if percent is None else round(percent / 100, 6)


@dataclass(frozen=True, slots=True)
class Answering:
    """The panel. `chart` is None where nothing was measured; `now` is the point in force; figures are in words."""

    form: PrecisionForm
    chart: LineChart | None
    now: Point | None
    percent: str
    best: str
    held_out: int


def answering_of(deployment: Deployment, form: PrecisionForm | None = None) -> Answering | None:
    """The panel of a deployment that classifies; None for any other."""
    if deployment.model.task != TEXT_CLASSIFICATION:
        return None
    held_out = held_out_of(deployment.version.report)
    percent = "" if deployment.precision is None else f"{round(deployment.precision * 100, 4):g}"
    form = form or PrecisionForm(initial={"percent": percent})
    if held_out is None or not held_out.points:
        return Answering(form, None, None, percent, "", 0)
    rule = held_out.reaching(deployment.precision) if deployment.precision is not None else None
    best = f"{int(held_out.best * 1000) / 10:g}"
    return Answering(form, _chart(held_out, best), rule.point if rule else None, percent, best, held_out.rows)


def threshold_of(deployment: Deployment | None) -> float | None:
    """The threshold that calls of a deployment go by; None where they are always answered."""
    if deployment is None:
        return None
    rule = default_rule(held_out_of(deployment.version.report), deployment.precision)
    return None if rule is None else min(rule.threshold, 1.0)


def _chart(held_out: HeldOut, best: str) -> LineChart:
    """Precision over the share of rows that are answered: measured, and promised."""
    points = sorted(held_out.points, key=lambda point: point.coverage)
    finding = _(
        "The fewer rows are answered, the more of them are right. The most that can be promised is %(best)s of 100."
    ) % {"best": best}
    return charts.line_chart(
        id="abstention",
        title=_("Right among the answered rows, by the share that is answered"),
        finding=finding,
        xlabel=_("share answered"),
        series=[
            Series("measured", _("Measured"), [(point.coverage, point.precision) for point in points], tone=1),
            Series(
                "promised", _("Promised"), [(point.coverage, point.at_least) for point in points], tone=2, sparse=True
            ),
        ],
    )
