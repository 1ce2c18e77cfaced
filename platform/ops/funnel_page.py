"""What the page of the funnel shows: from signing up to paying, by the month of signing up."""

import datetime as dt
from collections.abc import Mapping
from fractions import Fraction
from typing import Any
from uuid import UUID

from django.db.models import Min
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing.economics import STEPS, Arrivals, Journey, funnel, text, together
from billing.periods import bounds
from billing.selectors.acquisition import first_calls, first_payments
from data.models import WRITTEN, File
from kit import charts
from ops.economics_page import NOTHING, SHOWN, name_of, share
from registry.models import Model
from tenants.models import Tenant

STEP_WORDS = {
    "file": gettext_lazy("First file"),
    "model": gettext_lazy("First model"),
    "call": gettext_lazy("First call"),
    "paying": gettext_lazy("Paying"),
}


def arrivals(month: dt.date) -> list[Arrivals]:
    """Everybody who signed up until the end of a month, and how far each has come by now."""
    steps: dict[str, dict[UUID, dt.datetime]] = {
        "file": dict(
            File.ops.exclude(purpose__in=WRITTEN).order_by().values_list("tenant_id").annotate(at=Min("created_at"))
        ),
        "model": dict(Model.ops.order_by().values_list("tenant_id").annotate(at=Min("created_at"))),
        "call": first_calls(),
        "paying": first_payments(),
    }
    signed_up = Tenant.ops.filter(created_at__lt=bounds(month)[1]).values_list("pk", "created_at")
    return funnel(
        Journey(at, {step: found[tenant_id] for step, found in steps.items() if tenant_id in found})
        for tenant_id, at in signed_up.iterator(chunk_size=5000)
    )


def context(month: dt.date, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page shows."""
    found = arrivals(month)[-SHOWN:]
    if not found:
        return {}
    signed_up, reached = together(found)
    return {
        "steps": [STEP_WORDS[step] for step in STEPS],
        "signed_up": signed_up,
        "reached": [(STEP_WORDS[step], reached[step], share(Fraction(reached[step], signed_up))) for step in STEPS],
        "by_month": [
            (
                name_of(one.month),
                one.signed_up,
                [(one.reached[step], share(one.share(step)), days(one.days[step])) for step in STEPS],
            )
            for one in reversed(found)
        ],
        "bars": _bars(signed_up, reached),
    }


def days(value: Fraction | None) -> str:
    """A span in days with one digit; under a tenth of a day in minutes."""
    if value is None:
        return NOTHING
    if value < Fraction(1, 10):
        return _("%s min") % round(value * 1440)
    return _("%s d") % text(value, 1)


def _bars(signed_up: int, reached: Mapping[str, int]) -> charts.Bars:
    facts = {"all": f"{signed_up:,}", "pay": f"{reached['paying']:,}"}
    return charts.bar_chart(
        id="funnel",
        title=_("Organisations that reached each step"),
        finding=_("Of %(all)s organisations that signed up, %(pay)s pay.") % facts,
        keys=[_("Organisations")],
        columns=[
            charts.Column(_("Signed up"), [float(signed_up)]),
            *(charts.Column(str(STEP_WORDS[step]), [float(reached[step])]) for step in STEPS),
        ],
        xlabel=_("Step"),
    )


def rows(month: dt.date, given: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows of the CSV: every month of signing up."""
    head = ("month", "signed_up", *STEPS, *(f"{step}_median_days" for step in STEPS))
    return head, [
        (
            f"{one.month:%Y-%m}",
            one.signed_up,
            *(one.reached[step] for step in STEPS),
            *(None if (took := one.days[step]) is None else text(took, 4) for step in STEPS),
        )
        for one in arrivals(month)
    ]
