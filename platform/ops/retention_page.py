"""What the page of retention shows: who stayed, of each month's and of each cohort's."""

import datetime as dt
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from django.utils.translation import gettext as _

from billing.economics import Cohort, Month, cohorts, months_told, text
from billing.selectors import recurring
from kit import charts
from kit.charts.matrix import heat
from kit.money import usd
from ops.economics_page import SHOWN, dollars, name_of, rates_words, share

RATES = ("net_retention", "gross_retention", "revenue_churn", "logo_churn")


def context(month: dt.date, given: Mapping[str, str]) -> dict[str, Any]:
    """Everything the page shows."""
    ends = recurring.worth_by_month(month)
    told = months_told(ends)[-SHOWN:]
    begun = cohorts(ends)
    if not begun:
        return {}
    kept = [cohort for cohort in begun if cohort.month >= told[0].month]
    return {
        "rates": rates_words(told[0].month, month),
        "now": _rates(told[-1]),
        "by_month": [_rates(one) for one in reversed(told)],
        "line": _line(told),
        "places": range(max((len(cohort.tenants) for cohort in kept), default=0)),
        "cohorts": [_cohort(cohort) for cohort in reversed(kept)],
        "older": len(begun) - len(kept),
    }


def _rates(month: Month) -> dict[str, Any]:
    moves, year = month.moves, month.year
    return {
        "month": name_of(month.month),
        "tenants": moves.start_tenants,
        "start": usd(moves.start),
        "left": moves.tenants["churn"],
        **{rate: share(getattr(moves, rate)) for rate in RATES},
        **{f"{rate}_year": share(getattr(year, rate) if year else None) for rate in RATES},
    }


def _line(told: Sequence[Month]) -> charts.LineChart:
    def points(rate: str) -> list[tuple[float, float | None]]:
        found = [getattr(one.moves, rate) for one in told]
        return [(place, None if value is None else float(value * 100)) for place, value in enumerate(found)]

    last = told[-1].moves
    facts = {"net": share(last.net_retention), "gross": share(last.gross_retention), "month": name_of(told[-1].month)}
    return charts.line_chart(
        id="retention",
        title=_("Retention of revenue, month on month, %"),
        finding=_("In %(month)s net retention is %(net)s and gross retention %(gross)s.") % facts,
        series=[
            charts.Series("net", _("Net"), points("net_retention"), 2),
            charts.Series("gross", _("Gross"), points("gross_retention"), 1),
        ],
        xlabel=_("Month"),
        names=[name_of(one.month) for one in told],
        zero=True,
    )


def _cohort(cohort: Cohort) -> dict[str, Any]:
    return {
        "month": name_of(cohort.month),
        "began": cohort.tenants[0],
        "nano": usd(cohort.nano[0]),
        "tenants": [_cell(cohort, place, revenue=False) for place in range(len(cohort.tenants))],
        "revenue": [_cell(cohort, place, revenue=True) for place in range(len(cohort.nano))],
    }


def _cell(cohort: Cohort, place: int, *, revenue: bool) -> tuple[str, str, str]:
    """Its words, its heat (all of what it began with is the top), and what stands behind it."""
    value = cohort.share(place, revenue=revenue)
    facts = usd(cohort.nano[place]) if revenue else f"{cohort.tenants[place]}/{cohort.tenants[0]}"
    return f"{round(value * 100):,}%", heat(float(min(value, Fraction(1)))), facts


def rows(month: dt.date, given: Mapping[str, str]) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    """Head and rows of the CSV: the rates of every month, then every cohort's months."""
    ends = recurring.worth_by_month(month)
    head = ("part", "month", "after_months", "figure", "value")
    lines: list[tuple[Any, ...]] = []
    for one in months_told(ends):
        for suffix, moves in (("", one.moves), ("_12_months", one.year)):
            for rate in RATES:
                value = getattr(moves, rate) if moves else None
                lines.append(
                    ("rate", f"{one.month:%Y-%m}", "", f"{rate}{suffix}", None if value is None else text(value))
                )
    for cohort in cohorts(ends):
        for place, (tenants, nano) in enumerate(zip(cohort.tenants, cohort.nano, strict=True)):
            lines.append(("cohort", f"{cohort.month:%Y-%m}", place, "organisations", tenants))
            lines.append(("cohort", f"{cohort.month:%Y-%m}", place, "mrr", dollars(nano)))
    return head, lines
