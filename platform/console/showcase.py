"""What is shown without an account: made-up data for the style guide (long names, nothing, one, ten million), and a
real run for the landing page."""

import datetime as dt
import functools
import json
import math
import random
from pathlib import Path
from typing import Any

from django import forms
from django.utils.translation import gettext as _

from console.calibration import calibration_chart
from console.code import first_call
from console.paging import Page
from console.reports import report_of
from evaluation.calibration import Bin
from kit import charts
from kit.clock import now
from kit.money import NANO

EXAMPLE = Path(__file__).with_name("example_report.json")
LONG = "customer-support-escalations-with-a-sixty-character-long-name"
LABELS = ["refund_status", "cancel_order", "change_address", "human_agent"]
SHOWN_STATES = (
    "queued", "running", "succeeded", "warning", "failed", "cancelled", "live", "stopped", "processing", "past_due",
)  # fmt: skip
COUNTS = [[231, 6, 2, 4], [9, 180, 3, 8], [4, 7, 76, 6], [14, 11, 3, 96]]


class ShowForm(forms.Form):
    """One of each field, bound to bad input."""

    name = forms.SlugField(
        label=_("Name"),
        help_text=_("Letters, digits and dashes."),
        max_length=60,
        error_messages={"invalid": _("Use letters, digits and dashes, for example refunds-v4.")},
    )
    epochs = forms.IntegerField(
        label=_("Epochs"),
        min_value=1,
        max_value=20,
        error_messages={"max_value": _("20 epochs is the limit. Use a number from 1 to 20.")},
    )
    ceiling = forms.DecimalField(label=_("Spend at most"), required=False)
    base = forms.ChoiceField(label=_("Base model"), choices=[("a", "all-MiniLM-L6-v2"), ("b", LONG)])
    notes = forms.CharField(label=_("Notes"), widget=forms.Textarea, required=False)
    deploy = forms.BooleanField(
        label=_("Deploy when the gate passes"), help_text=_("Serving costs nothing while nobody calls."), required=False
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"),
        widget=forms.CheckboxSelectMultiple,
        choices=[("inference", _("Call models")), ("files.write", _("Upload files"))],
        error_messages={"required": _("Choose at least one scope.")},
    )


def loss_chart(steps: int = 52, every: int = 10) -> charts.LineChart:
    """A made-up run: train every ten steps, validation seven times."""
    noise = random.Random(7)
    train = [
        (float(i * every), 0.32 + 1.1 * math.exp(-i * every / 190) + noise.uniform(-0.03, 0.03))
        for i in range(steps + 1)
    ]
    validation = [(float(x), 0.40 + 1.05 * math.exp(-x / 180)) for x in range(0, steps * every, 70)]
    return charts.line_chart(
        id="loss",
        title=_("Loss"),
        finding=_("Train loss falls from 1.42 to 0.34 over 520 steps; validation follows at 0.46."),
        series=[
            charts.Series("train", _("train"), train, tone=1),
            charts.Series("validation", _("validation"), validation, tone=2, sparse=True),
        ],
    )


def usage_bars() -> charts.Bars:
    """A made-up month of cost."""
    noise = random.Random(3)
    start = dt.date(2026, 10, 24)
    columns = [
        charts.Column(
            (start + dt.timedelta(days=i)).strftime("%-d %b"), [noise.uniform(0, 2), noise.uniform(0, 1.2), 0.4]
        )
        for i in range(30)
    ]
    return charts.bar_chart(
        id="cost",
        title=_("Cost per day, USD"),
        finding=_("Cost per day between $0.50 and $3.50; the limit is $5.00."),
        keys=["refunds-v3", LONG, _("other")],
        columns=columns,
        unit="$",
        limit=5.0,
    )


def bins() -> list[Bin]:
    """A made-up reliability table."""
    return [
        Bin(i / 10, (i + 1) / 10, n, i / 10 + 0.05, min(1.0, max(0.0, i / 10 + 0.05 + d)))
        for i, (n, d) in enumerate(
            zip(
                [0, 4, 9, 12, 20, 31, 44, 82, 160, 298],
                [0, 0.04, 0.02, -0.05, -0.03, -0.04, 0.01, -0.02, -0.01, 0.0],
                strict=True,
            )
        )
    ]


@functools.cache
def _example() -> dict[str, Any]:
    return dict(json.loads(EXAMPLE.read_text(encoding="utf-8")))


def example() -> dict[str, Any]:
    """The landing page's report: a real run on the example data (docs/landing_report.py makes it)."""
    data = _example()
    report = report_of(data)
    return {
        "report": report,
        "rows": sum(report.n.values()),
        "labels": len(report.classes),
        "nano": round(data["x_price_usd"] * NANO),
    }


def context() -> dict[str, Any]:
    """Everything the style guide shows."""
    many = [f"intent_{i:02d}_with_a_name" for i in range(24)]
    noise = random.Random(1)
    spread = [
        [noise.randint(30, 90) if i == j else noise.choice([0, 0, 0, 1, 7]) for j in range(24)] for i in range(24)
    ]
    bad = ShowForm({"name": "refunds v4", "epochs": "99", "base": "a"})
    return {
        "long": LONG,
        "form": bad,
        "fresh": ShowForm(initial={"name": "refunds-v4", "epochs": 3}, auto_id="fresh_%s"),
        "chart": loss_chart(),
        "one_point": charts.line_chart(
            id="single",
            title=_("Accuracy"),
            finding=_("One value so far: 0.91."),
            zero=True,
            top=1.0,
            series=[charts.Series("accuracy", _("validation"), [(10.0, 0.91)], tone=2, sparse=True)],
        ),
        "bars": usage_bars(),
        "matrix": charts.confusion_matrix(LABELS, COUNTS),
        "big_matrix": charts.confusion_matrix(many, spread),
        "calibration": calibration_chart(bins()),
        "bins": bins(),
        "samples": first_call("https://api.example.com"),
        "states": SHOWN_STATES,
        "moment": now() - dt.timedelta(minutes=4),
        "page": Page(rows=list(range(50)), number=3, total=10_000_000, about=True),
        "trend": [0, 2, 3, 3, 8, 7, 12, 11, 18],
        "crumbs": [{"label": _("Jobs"), "href": "#"}],
        "tabs": [
            {"label": _("Findings"), "href": "#", "current": True, "count": 4},
            {"label": _("Rows"), "href": "#", "count": 10_000_000},
            {"label": _("Columns"), "href": "#", "count": 3},
            {"label": _("Versions"), "href": "#"},
        ],
    }
